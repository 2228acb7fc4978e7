"""Builds an export by hand: a network of three numbers whose answers can be computed in the head.

Flow: takes an empty folder; gives model.onnx, card.json, MODEL_CARD.md and SHA256SUMS in it.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bloodkeras import contract
from bloodkeras.bloodmnist import CLASS_NAMES

WEIGHT = 0.1  # red speaks for class 0, green for class 1, blue for class 2: pure colours are sure
WEIGHTS = WEIGHT * np.eye(3, len(CLASS_NAMES), dtype=np.float32)
FILES = (contract.MODEL_FILE, contract.CARD_FILE, contract.MODEL_CARD_FILE)


def build_export(folder: Path, **graph) -> Path:
    """Write a complete export; graph is handed to build_graph."""
    folder.mkdir(parents=True)
    onnx.save(build_graph(**graph), folder / contract.MODEL_FILE)
    (folder / contract.CARD_FILE).write_text('{"model": "tiny"}\n', encoding="utf-8")
    (folder / contract.MODEL_CARD_FILE).write_text("# tiny\n", encoding="utf-8")
    write_sums(folder)
    return folder


def write_sums(folder: Path, names: tuple[str, ...] = FILES) -> None:
    """Write SHA256SUMS for the files as they are, in sha256sum's own format."""
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / contract.SUMS_FILE).write_text("".join(lines), encoding="utf-8")


def build_graph(
    input_name: str = "images",
    input_type: int = TensorProto.UINT8,
    output_name: str = "probs",
    labels: tuple[str, ...] | None = CLASS_NAMES,
) -> onnx.ModelProto:
    """Return softmax(mean colour @ WEIGHTS) as a model; the arguments make it a foreign one."""
    nodes = [
        helper.make_node("Cast", [input_name], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["colours"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colours", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [output_name], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, input_type, ["N", 28, 28, 3])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if labels is not None:
        model.metadata_props.add(key="bloodkeras.labels", value=json.dumps(labels))
    return model


def expected_probs(images: np.ndarray) -> np.ndarray:
    """Compute in numpy what the network must answer, float64 (N, 8)."""
    powers = np.exp(images.mean((1, 2)) @ WEIGHTS.astype(np.float64))
    return powers / powers.sum(1, keepdims=True)
