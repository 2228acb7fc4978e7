"""Opens the end of an exported graph: the last layer and the temperature, to read and to replace.

Flow: takes model.onnx; gives a `Head`, features and logits of images; writes another head.
Sources: ONNX operators Gemm, Mul, Div, Softmax. Needs the package onnx, an extra.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from bloodkeras.answers.session import open_session
from bloodkeras.contract import FOREIGN_NAME, INPUT_NAME, OUTPUT_NAME
from bloodkeras.errors import BloodkerasError, missing_package
from bloodkeras.named_types import Floats, Pixels

if TYPE_CHECKING:
    from onnx import ModelProto as ModelProto
    from onnx import NodeProto as NodeProto

BATCH_SIZE = 64  # images that go through the network together: bounds memory


@dataclass(frozen=True)
class Head:
    """What an exported graph does to the features last.

    Attributes:
        weights: float32 (F, K).
        bias: float32 (K,).
        temperature: Logits are divided by it before the softmax.
    """

    weights: Floats
    bias: Floats
    temperature: float


@dataclass(frozen=True)
class _Places:
    """The names of the parts of a head in a graph."""

    features: str
    dense: "NodeProto"
    logits: str
    scales: tuple[tuple[str, str], ...]  # of the nodes after it: operator, constant


def import_onnx() -> ModuleType:
    """Return the package onnx.

    Raises:
        BloodkerasError: It is not installed.
    """
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise missing_package("onnx", "calibrate") from None
    return onnx


def read_head(model: "ModelProto") -> Head:
    """Return the last layer and the temperature of an ONNX model.

    Raises:
        BloodkerasError: The graph does not end in one dense layer, a temperature and a softmax.
    """
    places = _places(model)
    constants = constants_of(model)
    scale = 1.0
    for operator, name in places.scales:
        value = float(constants[name])
        scale *= value if operator == "Mul" else 1 / value
    bias = constants[places.dense.input[2]]
    return Head(kernel_of(places.dense, constants), bias, 1 / scale)


def write_head(model: "ModelProto", head: Head) -> None:
    """Replace the last layer and the temperature of an ONNX model, in place."""
    onnx = import_onnx()
    places, constants = _places(model), constants_of(model)
    _, kernel, bias_name = places.dense.input
    # A graph whose temperature was 1 has no node for it, so what there is takes all of it.
    scale = np.float32(1 if places.scales else 1 / head.temperature)
    weights, bias = head.weights * scale, head.bias * scale
    new = {kernel: weights.T if _is_transposed(places.dense) else weights, bias_name: bias}
    for place, (operator, name) in enumerate(places.scales):
        factor = 1.0 if place else 1 / head.temperature
        new[name] = np.full(constants[name].shape, factor if operator == "Mul" else 1 / factor)
    for tensor in model.graph.initializer:
        if tensor.name in new:
            array = np.array(new[tensor.name], np.float32, order="C")  # a scalar stays one
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


class Opened:
    """A model that gives its features and logits too; its session is kept for many images."""

    def __init__(self, model: "ModelProto") -> None:
        """Open it; see `_places` for what is refused."""
        places = _places(model)
        known = [output.name for output in model.graph.output]
        self._names = [places.features, places.logits, *[FOREIGN_NAME] * (FOREIGN_NAME in known)]
        self._session = open_at(model, self._names)

    def ask(self, images: Pixels) -> tuple[Floats, Floats, Floats]:
        """Return float32 (N, F), (N, K) before the temperature, and the foreign score (N,).

        Args:
            images: uint8 (N, S, S, 3).
        """
        starts = range(0, len(images), BATCH_SIZE)
        batches = [{INPUT_NAME: images[start : start + BATCH_SIZE]} for start in starts]
        found = [self._session.run(self._names, batch) for batch in batches]
        features, logits, *foreign = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return features, logits, foreign[0] if foreign else np.zeros(len(images), np.float32)


def features_and_logits(model: "ModelProto", images: Pixels) -> tuple[Floats, Floats, Floats]:
    """Return what `Opened.ask` does, of a model that is asked once."""
    return Opened(model).ask(images)


def open_at(model: "ModelProto", names: list[str]) -> onnxruntime.InferenceSession:
    """Open a model in a session that can be asked for tensors on its way, by their names."""
    onnx = import_onnx()
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    for name in set(names) - {output.name for output in model.graph.output}:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        opened.graph.output.append(value)
    return open_session(opened.SerializeToString())


def load_model(path: Path) -> "ModelProto":
    """Return the ONNX model in a file.

    Raises:
        BloodkerasError: onnx is not installed, or the file is none of its own.
    """
    onnx = import_onnx()
    try:
        found: ModelProto = onnx.load(path)
        return found
    except Exception as error:  # of protobuf, which has its own
        raise BloodkerasError(f"cannot read {path}: {error}") from None


def _places(model: "ModelProto") -> _Places:
    """Walk from the probabilities back to the features."""
    makers, constants = makers_of(model), {tensor.name for tensor in model.graph.initializer}
    scales: list[tuple[str, str]] = []
    node: NodeProto | None = makers[OUTPUT_NAME]
    if node is not None and node.op_type == "Softmax":
        node = makers.get(node.input[0])
        while node is not None and node.op_type in ("Mul", "Div") and node.input[1] in constants:
            scales.append((node.op_type, node.input[1]))
            node = makers.get(node.input[0])
    if node is None or node.op_type != "Gemm" or not constants.issuperset(node.input[1:3]):
        raise BloodkerasError(
            "its graph does not end in a dense layer, a temperature and a softmax: export the "
            "model again"
        )
    return _Places(node.input[0], node, node.output[0], tuple(scales))


def makers_of(model: "ModelProto") -> "dict[str, NodeProto]":
    """Return the node that makes each tensor of a model, by its name."""
    return {name: node for node in model.graph.node for name in node.output}


def constants_of(model: "ModelProto") -> dict[str, Floats]:
    """Return the arrays that are in a model, by their names."""
    to_array = import_onnx().numpy_helper.to_array
    return {tensor.name: to_array(tensor) for tensor in model.graph.initializer}


def kernel_of(dense: "NodeProto", constants: dict[str, Floats]) -> Floats:
    """Return the kernel of a dense layer, (F, K)."""
    kernel = constants[dense.input[1]]
    return kernel.T if _is_transposed(dense) else kernel


def _is_transposed(dense: "NodeProto") -> bool:
    return any(field.name == "transB" and field.i for field in dense.attribute)
