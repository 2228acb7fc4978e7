"""Lets a graph take a batch of no images in older versions of onnxruntime too.

Flow: takes an ONNX graph; changes it in place, so that its answers stay the same bit for bit.
Sources: onnxruntime 1.17.3, tried node by node with N = 0. It multiplies no constant matrix with a
    stack of none ("right operand cannot broadcast"), and a reduction over a negative axis of an
    empty tensor gives its whole shape. 1.32 does both.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bloodkeras.named_types import Json


def allow_empty_batch(model: onnx.ModelProto) -> None:
    """Mend what fails with N = 0; a graph that was mended already stays as it is."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type.startswith("Reduce"):
            _count_axes_from_the_front(node, ranks[node.input[0]], model.graph, constants)
    alone = {
        node.input[0]: None
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[0] in constants and ranks[node.input[1]] == 3
    }
    for name in alone:
        _repeat(constants[name], model.graph)
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)
    onnx.checker.check_model(model, full_check=True)


def _count_axes_from_the_front(
    node: onnx.NodeProto, rank: int, graph: onnx.GraphProto, constants: Json
) -> None:
    """Name the axes of a reduction, in an attribute or a second input, by numbers from 0."""
    for attribute in node.attribute:
        if attribute.name == "axes":
            attribute.ints[:] = [axis % rank for axis in attribute.ints]
    if len(node.input) > 1:
        axes = numpy_helper.to_array(constants[node.input[1]])
        if (axes < 0).any():
            node.input[1] = f"{node.output[0]}/axes"
            graph.initializer.append(numpy_helper.from_array(axes % rank, node.input[1]))


def _repeat(matrix: onnx.TensorProto, graph: onnx.GraphProto) -> None:
    """Multiply with a copy of a constant matrix for each image in the place of the one for all."""
    count, size, shape, copies = (
        f"{matrix.name}/{part}" for part in ("count", "size", "shape", "copies")
    )
    sizes = np.array(matrix.dims, np.int64)
    graph.initializer.append(numpy_helper.from_array(sizes, size))
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[0] == matrix.name:
            node.input[0] = copies
    images = graph.input[0].name
    made = (
        helper.make_node("Shape", [images], [count], count, start=0, end=1),
        helper.make_node("Concat", [count, size], [shape], shape, axis=0),
        helper.make_node("Expand", [matrix.name, shape], [copies], copies),
    )
    for place, node in enumerate(made):
        graph.node.insert(place, node)
