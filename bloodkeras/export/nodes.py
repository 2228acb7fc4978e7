"""Writes ONNX nodes as numpy writes arithmetic: `(pixels * 2).floor()` is two nodes.

Flow: takes tensors by their names and numbers; gives nodes and constants, in order.
"""

from collections.abc import Callable
from typing import Any, Union

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bloodkeras.named_types import Array

Operand = Union["Value", Array, float]


class Nodes:
    """Nodes that are being written, in the order of the computation.

    Attributes:
        nodes: What has been written.
        constants: What it computes with.
    """

    def __init__(self, prefix: str) -> None:
        """Begin with no node; all names begin with the prefix, so that two graphs can be one."""
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], Value] = {}

    def input(self, name: str) -> "Value":
        """Return a tensor that somebody else makes."""
        return Value(name, self)

    def constant(self, array: Operand) -> "Value":
        """Return a number as float32, an array as it is; equal ones are stored once."""
        if isinstance(array, Value):
            return array
        found = np.asarray(array, None if isinstance(array, np.ndarray) else np.float32)
        key = (found.dtype.str, found.shape, found.tobytes())
        if key not in self._known:
            name = f"{self._prefix}c{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(found, name))
            self._known[key] = Value(name, self)
        return self._known[key]

    def op(self, kind: str, *inputs: Operand, name: str = "", **attributes: Any) -> "Value":
        """Write a node and return its first output.

        Args:
            kind: An operator of the standard domain.
            inputs: Tensors, arrays and numbers.
            name: Of the output; made up by default.
        """
        name = name or f"{self._prefix}{kind.lower()}{len(self.nodes)}"
        names = [self.constant(value).name for value in inputs]
        outputs = [name, f"{name}/places"] if kind == "TopK" else [name]
        self.nodes.append(helper.make_node(kind, names, outputs, name, **attributes))
        return Value(name, self)

    def where(self, condition: "Value", yes: Operand, no: Operand) -> "Value":
        """Return one of two by a condition, element by element."""
        return self.op("Where", condition, yes, no)

    def grown_out(self, start: "Value", step: Callable[["Nodes", "Value"], "Value"]) -> "Value":
        """Return what comes of a step that only adds, repeated until it adds nothing any more.

        Args:
            start: float32 (H, W).
            step: Writes the nodes of one step, of the nodes to write to and the tensor as it is.
        """
        inner = Nodes(f"{self._prefix}loop/")
        before = inner.input(f"{self._prefix}loop/before")
        after = step(inner, before)
        goes_on = ((after - before).max() > 0).named(f"{self._prefix}loop/goes_on")
        grid = [None, None]
        body = helper.make_graph(
            inner.nodes,
            "step",
            [
                helper.make_tensor_value_info(f"{self._prefix}loop/round", TensorProto.INT64, []),
                helper.make_tensor_value_info(f"{self._prefix}loop/asked", TensorProto.BOOL, []),
                helper.make_tensor_value_info(before.name, TensorProto.FLOAT, grid),
            ],
            [
                helper.make_tensor_value_info(goes_on.name, TensorProto.BOOL, []),
                helper.make_tensor_value_info(after.name, TensorProto.FLOAT, grid),
            ],
            inner.constants,
        )
        most = np.array(np.iinfo(np.int32).max, np.int64)
        return self.op("Loop", most, np.array(True), start, body=body)


class Value:
    """A tensor of a graph; arithmetic on it writes nodes.

    Attributes:
        name: What the graph calls it.
    """

    def __init__(self, name: str, graph: Nodes) -> None:
        self.name, self._graph = name, graph

    def named(self, name: str) -> "Value":
        """Return the same under a name of one's own."""
        return self._graph.op("Identity", self, name=name)

    def to(self, kind: int) -> "Value":
        """Return it as another type, one of TensorProto's."""
        return self._graph.op("Cast", self, to=kind)

    def floats(self) -> "Value":
        """Return it as float32."""
        return self.to(TensorProto.FLOAT)

    def ints(self) -> "Value":
        """Return it as int64, as sizes and places are."""
        return self.to(TensorProto.INT64)

    def floor(self) -> "Value":
        return self._graph.op("Floor", self)

    def round(self) -> "Value":
        """Return the nearest whole numbers; of two that are as near the even one, as Python."""
        return self._graph.op("Round", self)

    def sign(self) -> "Value":
        return self._graph.op("Sign", self)

    def abs(self) -> "Value":
        return self._graph.op("Abs", self)

    def log(self) -> "Value":
        return self._graph.op("Log", self)

    def sqrt(self) -> "Value":
        return self._graph.op("Sqrt", self)

    def clip(self, low: float, high: float) -> "Value":
        return self._graph.op("Clip", self, low, high)

    def least(self, other: Operand) -> "Value":
        return self._graph.op("Min", self, other)

    def most(self, other: Operand) -> "Value":
        return self._graph.op("Max", self, other)

    def sum(self) -> "Value":
        return self._graph.op("ReduceSum", self, keepdims=0)

    def mean(self) -> "Value":
        return self._graph.op("ReduceMean", self, keepdims=0)

    def max(self) -> "Value":
        return self._graph.op("ReduceMax", self, keepdims=0)

    def take(self, places: Operand, axis: int) -> "Value":
        """Return what is at some places along an axis, an array of int64 or a scalar of it."""
        return self._graph.op("Gather", self, places, axis=axis)

    def part(self, starts: Operand, ends: Operand, axes: tuple[int, ...]) -> "Value":
        """Return what lies between places, int64, along axes."""
        return self._graph.op("Slice", self, starts, ends, np.array(axes))

    def reshaped(self, *shape: int) -> "Value":
        return self._graph.op("Reshape", self, np.array(shape, np.int64))

    def turned(self, *axes: int) -> "Value":
        return self._graph.op("Transpose", self, perm=axes)

    def __add__(self, other: Operand) -> "Value":
        return self._graph.op("Add", self, other)

    def __sub__(self, other: Operand) -> "Value":
        return self._graph.op("Sub", self, other)

    def __rsub__(self, other: Operand) -> "Value":
        return self._graph.op("Sub", other, self)

    def __mul__(self, other: Operand) -> "Value":
        return self._graph.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> "Value":
        return self._graph.op("Div", self, other)

    def __pow__(self, other: Operand) -> "Value":
        return self._graph.op("Pow", self, other)

    def __matmul__(self, other: Operand) -> "Value":
        return self._graph.op("MatMul", self, other)

    def __rmatmul__(self, other: Operand) -> "Value":
        return self._graph.op("MatMul", other, self)

    def __neg__(self) -> "Value":
        return self._graph.op("Neg", self)

    def __lt__(self, other: Any) -> "Value":
        return self._graph.op("Less", self, other)

    def __gt__(self, other: Any) -> "Value":
        return self._graph.op("Greater", self, other)

    def __ge__(self, other: Any) -> "Value":
        return self._graph.op("GreaterOrEqual", self, other)

    def __le__(self, other: Any) -> "Value":
        return self._graph.op("LessOrEqual", self, other)

    def same(self, other: Operand) -> "Value":
        return self._graph.op("Equal", self, other)

    def __and__(self, other: "Value") -> "Value":
        return self._graph.op("And", self, other)

    def __or__(self, other: "Value") -> "Value":
        return self._graph.op("Or", self, other)

    def __invert__(self) -> "Value":
        return self._graph.op("Not", self)

    __array_ufunc__ = None  # numpy leaves `array @ value` to __rmatmul__
