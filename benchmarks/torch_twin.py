"""Builds a Keras network's twin in PyTorch, eager and channels last, for `benchmark` to compare.

Flow: takes a run and the folder of a benchmark's results; leaves pytorch.pt and pytorch-fused.pt
(batch normalisation folded) there, which the next `benchmark` of that model runs too.

    python benchmarks/torch_twin.py runs/deeper-seed42 runs/benchmark-deeper
    python -m bloodkeras benchmark exports/deeper

Needs PyTorch, which is not a dependency of the package.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from bloodkeras.benchmark.engines import TWIN_FILES
from bloodkeras.errors import BloodkerasError
from bloodkeras.training.run_folder import load_run


def main(run: str, work: str) -> None:
    """Write both twins; in files, so that PyTorch's own start is measured and not Keras'."""
    import torch

    model = load_run(Path(run)).model
    Path(work).mkdir(parents=True, exist_ok=True)
    for file, fused in TWIN_FILES.items():
        torch.save(torch_twin(model, fused), Path(work, file))
        print(f"wrote {Path(work, file)}")


if TYPE_CHECKING:
    import torch


def torch_twin(model: keras.Model, fused: bool = False) -> "torch.nn.Module":
    """Return the network as PyTorch would be written: (B, 3, S, S) raw pixels to logits (B, K).

    Args:
        model: One of models.MODELS.
        fused: Fold batch normalisation into the convolutions, by PyTorch's own tool.

    Raises:
        NotImplementedError: The network has a layer that is not known here.
    """
    import torch

    graph, modules = torch.fx.Graph(), torch.nn.Module()
    values = {id(model.inputs[0]): graph.placeholder("images")}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        arguments = [values[id(tensor)] for tensor in inputs]
        values[id(layer.output)] = _translate(layer, arguments, graph, modules)
    graph.output(values[id(model.outputs[0])])
    twin = torch.fx.GraphModule(modules, graph).eval()
    if fused:
        from torch.fx.experimental.optimization import fuse

        twin = fuse(twin)
    return twin.to(memory_format=torch.channels_last)


def _translate(
    layer: keras.Layer,
    arguments: list[Any],
    graph: "torch.fx.Graph",
    modules: "torch.nn.Module",
) -> "torch.fx.Node":
    """Add one layer to the graph; return the node with its answer."""
    import torch
    from torch.nn import functional

    kind = type(layer).__name__
    (first, *_) = arguments
    call = graph.call_function
    if kind in ("Add", "Multiply"):
        return call({"Add": torch.add, "Multiply": torch.mul}[kind], tuple(arguments))
    if kind == "Rescaling":
        return call(torch.add, (call(torch.mul, (first, float(layer.scale))), float(layer.offset)))
    if kind == "Dropout":
        return first
    if kind == "GlobalAveragePooling2D":
        return call(torch.mean, (first, (2, 3)), {"keepdim": bool(layer.keepdims)})
    if kind in ("MaxPooling2D", "AveragePooling2D"):
        pool = {"M": functional.max_pool2d, "A": functional.avg_pool2d}[kind[0]]
        return call(pool, (first, layer.pool_size, layer.strides))
    if kind == "ReLU":
        modules.add_module(layer.name, torch.nn.ReLU(inplace=True))
        return graph.call_module(layer.name, (first,))
    module, margins = _module(layer)
    if any(margins):
        first = call(functional.pad, (first, margins))
    modules.add_module(layer.name, module)
    answer = graph.call_module(layer.name, (first,))
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if activation == "linear":
        return answer
    return call({"relu": torch.relu, "sigmoid": torch.sigmoid}[activation], (answer,))


def _module(layer: keras.Layer) -> "tuple[torch.nn.Module, tuple[int, ...]]":
    """Return a layer with weights as a module, and the padding (l, r, t, b) to give it first."""
    import torch

    weights = [torch.from_numpy(np.array(value)) for value in layer.get_weights()]
    margins: tuple[int, ...] = (0, 0, 0, 0)
    if isinstance(layer, keras.layers.BatchNormalization):
        module = torch.nn.BatchNorm2d(len(weights[0]), eps=layer.epsilon)
        module.weight.data, module.bias.data, module.running_mean, module.running_var = weights
    elif isinstance(layer, keras.layers.Dense):
        module = torch.nn.Linear(*weights[0].shape, bias=layer.use_bias)
        module.weight.data = weights[0].T.contiguous()
    elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = weights[0].permute(2, 3, 0, 1) if depthwise else weights[0].permute(3, 2, 0, 1)
        margins = _same_padding(layer)
        even = margins[0] == margins[1] and margins[2] == margins[3]
        module = torch.nn.Conv2d(
            layer.input.shape[-1],
            layer.output.shape[-1],
            layer.kernel_size,
            layer.strides,
            (margins[2], margins[0]) if even else 0,
            bias=layer.use_bias,
            groups=layer.input.shape[-1] if depthwise else 1,
        )
        module.weight.data = kernel.contiguous()
        margins = (0, 0, 0, 0) if even else margins
    else:
        raise NotImplementedError(f"no PyTorch twin for the layer {type(layer).__name__}")
    if getattr(layer, "use_bias", False):
        module.bias.data = weights[1]
    return module, margins


def _same_padding(layer: keras.Layer) -> tuple[int, ...]:
    """Return what TensorFlow's padding adds: left, right, top, bottom."""
    if layer.padding != "same":
        return (0, 0, 0, 0)
    margins: tuple[int, ...] = ()
    for axis in (1, 0):
        size, kernel = layer.input.shape[1 + axis], layer.kernel_size[axis]
        stride = layer.strides[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        margins += (total // 2, total - total // 2)
    return margins


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/torch_twin.py RUN FOLDER")
    try:
        main(*sys.argv[1:])
    except BloodkerasError as error:
        sys.exit(f"torch_twin: {error}")
