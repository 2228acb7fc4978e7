"""Runs nodes that are being written, so that a step of a graph can be compared with its like.

Flow: takes arrays by name and a function that writes nodes; gives what they compute.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper

from bloodkeras.answers.session import open_session
from bloodkeras.contract import ONNX_OPSET
from bloodkeras.export.nodes import Nodes, Value


def computed(write: Callable[..., Value], **arrays: np.ndarray) -> np.ndarray:
    """Return what write(nodes, **tensors) makes of arrays, of whatever rank."""
    graph = Nodes("test/")
    result = write(graph, **{name: graph.input(name) for name in arrays}).floats().named("result")
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim
        )
        for name, array in arrays.items()
    ]
    output = onnx.ValueInfoProto(name=result.name)
    made = helper.make_graph(graph.nodes, "test", inputs, [output], graph.constants)
    opsets = [helper.make_opsetid("", ONNX_OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=8)
    found = open_session(model.SerializeToString()).run(None, arrays)[0]
    return np.asarray(found)
