"""Builds a Keras network's twin in PyTorch, eager and channels last, for the benchmark alone.

Flow: takes a functional keras.Model; gives a torch.nn.Module with the same weights. PyTorch is no
dependency: it is imported where it is used.
"""

import keras
import numpy as np


def torch_twin(model: keras.Model, fused: bool = False):
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


def _translate(layer, arguments: list, graph, modules):
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


def _module(layer):
    """Return a layer with weights as a module, and the padding (l, r, t, b) to give it first."""
    import torch

    weights = [torch.from_numpy(np.array(value)) for value in layer.get_weights()]
    margins = (0, 0, 0, 0)
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


def _same_padding(layer) -> tuple[int, int, int, int]:
    """Return what TensorFlow's padding adds: left, right, top, bottom."""
    if layer.padding != "same":
        return (0, 0, 0, 0)
    margins = ()
    for axis in (1, 0):
        size, kernel = layer.input.shape[1 + axis], layer.kernel_size[axis]
        stride = layer.strides[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        margins += (total // 2, total - total // 2)
    return margins
