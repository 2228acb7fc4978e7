"""Shows what a network looked at: class-activation maps that the ONNX graph itself computes.

Flow: takes an export; gives for each image a map a class, how much each place spoke for it.
Sources: Zhou et al. 2016 (arXiv:1512.04150) for one dense layer after the pooling; with several,
    the gradient of the class at this image stands for its weights, as in Grad-CAM (Selvaraju et al.
    2017, arXiv:1610.02391). Layers and ReLUs are linear around an image, so the places still add
    up to all that the features say for a class. Needs the package onnx, an extra.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bloodkeras.answers.session import open_session
from bloodkeras.contract import INPUT_NAME, MODEL_FILE, OUTPUT_NAME
from bloodkeras.errors import BloodkerasError
from bloodkeras.laboratory.graph import import_onnx, load_model
from bloodkeras.named_types import Floats, Pixels

if TYPE_CHECKING:
    from bloodkeras.laboratory.graph import ModelProto, NodeProto

MAP_NAME = "map"


class ActivationMap:
    """An export's network, asked for its maps."""

    def __init__(self, folder: str | Path) -> None:
        """Open an export's graph and add the map to it.

        Raises:
            BloodkerasError: onnx is not installed, or the graph is not built as an export's.
        """
        model = load_model(Path(folder, MODEL_FILE))
        add_map(model)
        self._session = open_session(model.SerializeToString())

    def maps(self, images: Pixels) -> Floats:
        """Return the maps of uint8 (N, S, S, 3).

        Returns:
            float32 (N, K, H, W), H and W those of the last convolution. The mean over the places
            is the class's logit without what does not depend on the image's features.
        """
        found: Floats = self._session.run([MAP_NAME], {INPUT_NAME: images})[0]
        return found


def add_map(model: "ModelProto") -> None:
    """Give an ONNX model the output "map", float32 (N, K, H, W), in place.

    Raises:
        BloodkerasError: The graph does not end in a pooling, dense layers and a softmax.
    """
    graph = _Graph(model)
    maps = [
        graph.add("Mul", [graph.map_of(layers), graph.column(weight)])
        if weight
        else graph.map_of(layers)
        for layers, weight in graph.heads(OUTPUT_NAME)
    ]
    if not maps:
        raise BloodkerasError(
            "this graph does not end in a pooling, dense layers and a softmax, as an export does: "
            "export the model again"
        )
    graph.add("Sum", maps, MAP_NAME)
    value = graph.onnx.helper.make_tensor_value_info(MAP_NAME, graph.onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)


class _Graph:
    """Walks an ONNX graph back and adds nodes at its end."""

    def __init__(self, model: "ModelProto") -> None:
        self.onnx = import_onnx()
        self._graph = model.graph
        self._makers = {name: node for node in self._graph.node for name in node.output}
        self._constants = {
            tensor.name: self.onnx.numpy_helper.to_array(tensor)
            for tensor in self._graph.initializer
        }
        self._count = 0

    def heads(self, name: str) -> list[tuple[list[Any], str]]:
        """Return the dense layers that lead to a tensor, for each network that was joined.

        Returns:
            The nodes from the last layer back to the pooling, and the tensor (N, 1) by which the
            network's answer is weighed, "" for none.
        """
        node = self._makers.get(name)
        if node is None:
            return []
        if node.op_type == "Gemm":
            return [(self._layers(node), "")]
        if node.op_type == "Add":
            return [head for each in node.input for head in self.heads(each)]
        if node.op_type == "Mul" and node.input[1] not in self._constants:
            one, other = node.input
            found = [(self.heads(one), other), (self.heads(other), one)]
            return [(layers, weight) for heads, weight in found for layers, _ in heads]
        if node.op_type in ("Softmax", "Log", "Mul", "Div"):
            return self.heads(node.input[0])
        return []

    def _layers(self, node: "NodeProto") -> list[Any]:
        """Return the dense layers and ReLUs from a last one back, and the pooling at the end."""
        found: list[NodeProto] = []
        last: NodeProto | None = node
        while last is not None and last.op_type in ("Gemm", "Relu", "Squeeze"):
            found.append(last)
            last = self._makers.get(last.input[0])
        return [*found, last] if last is not None else found

    def map_of(self, layers: list[Any]) -> str:
        """Return the tensor of a network's maps, (N, K, H, W)."""
        *layers, pooling = layers
        if pooling.op_type != "GlobalAveragePool":
            raise BloodkerasError("this graph has no pooling before its dense layers")
        says = ""  # (N, K, F) or (K, F): what a feature adds to each class, from the last layer on
        for node in layers:
            if node.op_type == "Gemm":
                weights = self.constant(self._weights(node))  # (outputs, inputs)
                says = self.add("MatMul", [says, weights]) if says else weights
            elif node.op_type == "Relu":
                sign = self.add("Sign", [node.output[0]])  # 1 where it lets through, else 0
                says = self.add("Mul", [says, self.add("Unsqueeze", [sign, self.constant([1])])])
        features = pooling.input[0]  # (N, F, H, W)
        flat = self.add("Reshape", [features, self.constant([0, 0, -1])])
        spoken = self.add("MatMul", [says, flat])  # (N, K, H * W)
        places = self.add("Slice", [self.add("Shape", [features]), *map(self.constant, ([2], [4]))])
        shape = self.add("Concat", [self.constant([0, 0]), places], axis=0)
        return self.add("Reshape", [spoken, shape])

    def _weights(self, node: "NodeProto") -> Floats:
        weights = self._constants[node.input[1]]
        turned = any(field.name == "transB" and field.i for field in node.attribute)
        found: Floats = weights if turned else weights.T
        return found

    def column(self, weight: str) -> str:
        """Return a tensor (N, 1) as (N, 1, 1, 1)."""
        return self.add("Unsqueeze", [weight, self.constant([2, 3])])

    def constant(self, values: object) -> str:
        """Add an array; whole numbers become int64, as ONNX has shapes and axes."""
        array = np.asarray(values)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        name = self._name("constant")
        tensor = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        self._graph.initializer.append(tensor)
        return name

    def add(self, kind: str, inputs: list[str], output: str = "", **fields: Any) -> str:
        """Add a node and return its output."""
        output = output or self._name(kind)
        self._graph.node.append(self.onnx.helper.make_node(kind, inputs, [output], **fields))
        return output

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{MAP_NAME}_{kind}_{self._count}"
