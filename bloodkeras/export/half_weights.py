"""Stores the kernels of convolutions in half precision: half the file, computed as before.

Flow: takes an fp32 graph; gives one whose kernels are float16. A Cast before each convolution makes
them float32 again, which a runtime does once, when it loads the file.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def halve_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with kernels in float16; those of dense layers, which are small, stay."""
    found = onnx.ModelProto()
    found.CopyFrom(graph)
    kernels = {node.input[1] for node in found.graph.node if node.op_type == "Conv"}
    casts = []
    for tensor in found.graph.initializer:
        if tensor.name in kernels and tensor.data_type == TensorProto.FLOAT:
            name, half = tensor.name, f"{tensor.name}_half"
            casts.append(helper.make_node("Cast", [half], [name], name, to=TensorProto.FLOAT))
            _store(tensor, np.float16, half)
    nodes = [*casts, *found.graph.node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found


def restore_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with all kernels in float32: that of `halve_weights`, but for rounding."""
    found = onnx.ModelProto()
    found.CopyFrom(graph)
    halves = {tensor.name: tensor for tensor in found.graph.initializer}
    for node in list(found.graph.node):
        if node.op_type == "Cast" and node.input[0] in halves:
            _store(halves[node.input[0]], np.float32, node.output[0])
            found.graph.node.remove(node)
    return found


def _store(tensor: TensorProto, kind: type, name: str) -> None:
    """Change an initialiser's type and name, in place."""
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), name))
