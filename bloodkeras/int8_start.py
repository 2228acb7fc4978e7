"""Rewrites the start of an int8 graph so that the first convolution is exact and quick.

Flow: takes what `quantise.py` got from onnxruntime; gives it with other first nodes:

    before  images > Cast > Mul > Add > Transpose > QuantizeLinear > DequantizeLinear > Conv
    after   images > Reshape > Transpose > DequantizeLinear > Conv

A pixel already is one of 256 levels: it needs no rounding, if a level is a step. And onnxruntime's
quick kernel needs channels in fours, so 4 columns of 3 colours are read as 1 of 12; with 3 channels
the first convolution took 27 of the 110 microseconds of `deeper`.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from bloodkeras.contract import IMAGE_SIDE, INPUT_NAME

STEP = np.float32(1 / 127.5)  # of one grey level, once pixels are scaled to -1..1
GREY = 128  # the level taken for 0, which lies between 127 and 128
BLOCK = 4  # columns of pixels read as channels of one
SCALING = ("Transpose", "Add", "Mul", "Cast")  # from the first convolution back to the pixels


def scaling_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the four nodes that scale the pixels to -1..1, the last first; none if others do.

    None either where several convolutions start from the pixels, as in two joined networks.
    """
    starts = [_back(graph, node.input[0], SCALING) for node in graph.node if node.op_type == "Conv"]
    starts = [chain for chain in starts if chain]
    if len(starts) != 1:
        return []
    (chain,) = starts
    constants = _constants(graph)
    slope, offset = (constants.get(node.input[1]) for node in (chain[2], chain[1]))
    return chain if (slope, offset) == (STEP, -1) else []


def enter_as_bytes(model: onnx.ModelProto) -> None:
    """Hand the pixels to the first convolution as they are, four columns at a time.

    Args:
        model: Quantised, the scaled pixels with STEP and GREY; changed in place. One whose first
            convolution is not square, of stride 1, 2 or 4, and clipped by its own range, is left.
    """
    graph = model.graph
    conv = next(node for node in graph.node if node.op_type == "Conv")
    chain = _back(graph, conv.input[0], ("DequantizeLinear", "QuantizeLinear", *SCALING))
    after = next((node for node in graph.node if conv.output[0] in node.input), None)
    fields = {field.name: helper.get_attribute_value(field) for field in conv.attribute}
    (stride, _), (top, left, bottom, _) = fields["strides"], fields["pads"]
    kernel = fields["kernel_shape"][0]
    reach = left < BLOCK and kernel - left <= BLOCK  # no further than the block beside
    plain = chain is not None and len(conv.input) == 3 and after is not None
    if not plain or after.op_type != "QuantizeLinear" or BLOCK % stride or not reach:
        return
    for node in chain[1:]:
        readers = [each for each in graph.node if node.output[0] in each.input]
        if readers not in ([], [chain[0]]):
            break  # the colours of the foreign score need the pixels as numbers too
        graph.node.remove(node)
    filters = _widen(graph, conv, stride, left)
    _set_fields(conv, kernel_shape=(kernel, 3), strides=(stride, 1), pads=(top, 1, bottom, 1))
    # (N, 28, 28, 3) is (N, 28, 7, 12) in memory, and so is the way back: no byte moves.
    blocks = (-1, IMAGE_SIDE, IMAGE_SIDE // BLOCK, 3 * BLOCK)
    height = (IMAGE_SIDE + top + bottom - kernel) // stride + 1
    columns = (-1, height, IMAGE_SIDE // stride, filters)
    _insert(
        graph, 0, INPUT_NAME, chain[1].output[0], (("Reshape", blocks), ("Transpose", (0, 3, 1, 2)))
    )
    out, after.output[0] = after.output[0], "blocks_out"
    steps = (("Transpose", (0, 2, 3, 1)), ("Reshape", columns), ("Transpose", (0, 3, 1, 2)))
    _insert(graph, list(graph.node).index(after) + 1, "blocks_out", out, steps)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def block_kernel(weights: np.ndarray, stride: int, left: int) -> np.ndarray:
    """Return the kernel that reads blocks of columns and answers for all columns of a block.

    Args:
        weights: int8 (C, 3, H, W).
        stride: Along the columns: 1, 2 or 4.
        left: Columns of padding on the left.

    Returns:
        int8 (4 / stride * C, 12, H, 3): 0 where a block is none of the original kernel's business.
    """
    count, colours, height, width = weights.shape
    wide = np.zeros((BLOCK // stride, count, 3, BLOCK, colours, height), weights.dtype)
    for column in range(BLOCK // stride):
        for tap in range(width):
            block, within = divmod(column * stride - left + tap + BLOCK, BLOCK)
            wide[column, :, block, within] = weights[..., tap]
    wide = wide.transpose(0, 1, 3, 4, 5, 2)  # (column, C, within, colour, H, block)
    return np.ascontiguousarray(wide.reshape(-1, BLOCK * colours, height, 3))


def _widen(graph: onnx.GraphProto, conv: onnx.NodeProto, stride: int, left: int) -> int:
    """Replace the first convolution's int8 weights and int32 bias; return its filters."""
    makers = {output: node for node in graph.node for output in node.output}
    weights, bias = (makers[name].input for name in conv.input[1:])
    constants = _constants(graph)
    kernel = constants[weights[0]]
    # GREY is half a step above 0: give the sums back what that takes from each pixel.
    half = np.round((GREY - 1 / STEP) * kernel.sum((1, 2, 3), dtype=np.int64))
    replaced = {
        name: np.tile(constants[name], BLOCK // stride) for name in (*weights[1:], *bias[1:])
    }
    replaced[weights[0]] = block_kernel(kernel, stride, left)
    replaced[bias[0]] = np.tile((constants[bias[0]] + half).astype(np.int32), BLOCK // stride)
    for tensor in graph.initializer:
        if tensor.name in replaced:
            tensor.CopyFrom(numpy_helper.from_array(replaced[tensor.name], tensor.name))
    return len(kernel)


def _back(graph: onnx.GraphProto, name: str, kinds: tuple[str, ...]) -> list | None:
    """Return the nodes of these kinds that lead to a tensor, last first; None if others do."""
    makers = {output: node for node in graph.node for output in node.output}
    found = []
    for kind in kinds:
        node = makers.get(name)
        if node is None or node.op_type != kind:
            return None
        found.append(node)
        name = node.input[0]
    return found if name == INPUT_NAME else None


def _constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _set_fields(node: onnx.NodeProto, **fields) -> None:
    for field in [field for field in node.attribute if field.name in fields]:
        node.attribute.remove(field)
    node.attribute.extend(helper.make_attribute(*field) for field in fields.items())


def _insert(graph: onnx.GraphProto, place: int, start: str, end: str, steps: tuple) -> None:
    """Insert Reshape and Transpose nodes one after the other, from one tensor to another."""
    for number, (kind, sizes) in enumerate(steps):
        name = end if number == len(steps) - 1 else f"{end}_{number}"
        if kind == "Reshape":
            shape = numpy_helper.from_array(np.array(sizes, np.int64), f"{name}_shape")
            graph.initializer.append(shape)
            node = helper.make_node(kind, [start, shape.name], [name], name=f"{name}_{kind}")
        else:
            node = helper.make_node(kind, [start], [name], name=f"{name}_{kind}", perm=sizes)
        graph.node.insert(place + number, node)
        start = name
