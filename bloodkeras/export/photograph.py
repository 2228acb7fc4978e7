"""Makes of a network one file that takes a photograph: framing, resize and JPEG are in its graph.

Flow: takes an exported network and its thresholds; gives a network that takes uint8 (H, W, 3), of
any size, and gives the same answers, the verdict and the pixels that it saw.
"""

import json
from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper

from bloodkeras import contract
from bloodkeras.answers.answer import Thresholds
from bloodkeras.export.framing_graph import centred, kept_square, measured
from bloodkeras.export.jpeg_graph import round_trip
from bloodkeras.export.nodes import Nodes, Value
from bloodkeras.export.resize_graph import resized, triangle

PREPROCESSING = (
    "all in the graph: it takes a photograph as it was decoded, RGB, and frames it by the rule for "
    "one photograph where side is 0, else keeps the square of that side in its middle; "
    "{side}x{side} pixels it takes as they are"
)


def with_photograph(network: onnx.ModelProto, thresholds: Thresholds) -> onnx.ModelProto:
    """Return the network with all that is done to a photograph before it, and its verdict after.

    Args:
        network: As `publish` writes it, in fp32 or int8; it is not changed.
        thresholds: Of its card.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    side = image_side(network)
    front, back = Nodes("photograph/"), Nodes("verdict/")
    in_doubt = write_front(front, side)
    write_verdict(back, thresholds, in_doubt, {output.name for output in graph.output})
    nodes = [*front.nodes, *graph.node, *back.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*front.constants, *back.constants])
    _name_ends(graph, side)
    _describe(model, side)
    onnx.checker.check_model(model, full_check=True)
    return model


def image_side(network: onnx.ModelProto) -> int:
    """Return the side of the pixels that a network takes."""
    side: int = network.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return side


def write_front(graph: Nodes, side: int) -> Value:
    """Write what makes the network's input of a photograph; return whether that is in doubt."""
    photograph = measured(graph, graph.input(contract.PHOTOGRAPH_NAME))
    given = graph.input(contract.SIDE_NAME).floats().reshaped()
    kept, in_doubt = kept_square(graph, photograph, given, side)
    square = centred(graph, photograph, kept).floats().turned(2, 0, 1)
    shrink = triangle(graph, kept, side)
    small = resized(graph, square, shrink, shrink)
    compressed = round_trip(graph, small, side)
    levels = graph.where(photograph.is_square_of(side), small, compressed)
    seen = levels.turned(1, 2, 0).to(TensorProto.UINT8).named(contract.PIXELS_NAME)
    graph.op("Unsqueeze", seen, np.array([0]), name=contract.INPUT_NAME)
    return in_doubt


def write_verdict(
    graph: Nodes, thresholds: Thresholds, in_doubt: Value, outputs: Collection[str]
) -> None:
    """Write which of contract.VERDICTS an answer gets, int32 (1,), as `Answers` does.

    Args:
        in_doubt: Whether the frame is, bool ().
        outputs: Of the network: one without a foreign score calls nothing foreign.
    """
    accepted, unsure, foreign = (
        np.array([place], np.int32) for place in range(len(contract.VERDICTS))
    )
    confidence = graph.op("ReduceMax", graph.input(contract.OUTPUT_NAME), axes=[1], keepdims=0)
    sure = (confidence >= thresholds.confidence) & ~graph.input(in_doubt.name)
    verdict = graph.where(sure, accepted, unsure)
    if contract.FOREIGN_NAME in outputs:
        strange = graph.input(contract.FOREIGN_NAME) > thresholds.foreign
        verdict = graph.where(strange, foreign, verdict)
    verdict.named(contract.VERDICT_NAME)


def _name_ends(graph: onnx.GraphProto, side: int) -> None:
    """Say what goes in and comes out: one photograph, so a batch of one."""
    of = helper.make_tensor_value_info
    del graph.input[:]
    graph.input.extend(
        [
            of(contract.PHOTOGRAPH_NAME, TensorProto.UINT8, ["H", "W", 3]),
            of(contract.SIDE_NAME, TensorProto.INT32, [1]),
        ]
    )
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    graph.output.extend(
        [
            of(contract.VERDICT_NAME, TensorProto.INT32, [1]),
            of(contract.PIXELS_NAME, TensorProto.UINT8, [side, side, 3]),
        ]
    )


def _describe(model: onnx.ModelProto, side: int) -> None:
    """Write into the metadata what the network's own does not say, or says of itself alone."""
    said = {
        "preprocessing": PREPROCESSING.format(side=side),
        "verdicts": json.dumps(contract.VERDICTS),
    }
    said = {contract.METADATA_PREFIX + key: text for key, text in said.items()}
    kept = {each.key: each.value for each in model.metadata_props} | said
    helper.set_model_props(model, kept)
