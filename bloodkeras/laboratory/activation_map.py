"""Shows what a network looked at: class-activation maps, from what its graph computes on the way.

Flow: takes an export; gives for each image a map a class, how much each place spoke for it.
Sources: Zhou et al. 2016 (arXiv:1512.04150) for one dense layer after the pooling; with several,
    the gradient of the class at this image stands for its weights, as in Grad-CAM (Selvaraju et al.
    2017, arXiv:1610.02391). Layers and ReLUs are linear around an image, so the places still add
    up to all that the features say for a class. Needs the package onnx, an extra.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloodkeras.contract import INPUT_NAME, MODEL_FILE, OUTPUT_NAME
from bloodkeras.errors import BloodkerasError
from bloodkeras.laboratory.graph import constants_of, kernel_of, load_model, makers_of, open_at
from bloodkeras.named_types import Array, Floats, Pixels

if TYPE_CHECKING:
    from bloodkeras.laboratory.graph import ModelProto


@dataclass(frozen=True)
class _Head:
    """The dense layers of a network.

    Attributes:
        layers: From the last back to the pooling: the kernel (F, K) of a dense layer, or the name
            of what comes out of a ReLU.
        features: The name of what is pooled, (N, F, H, W).
    """

    layers: tuple[Floats | str, ...]
    features: str

    def tensors(self) -> list[str]:
        """Return the names of all that `map` needs."""
        return [self.features, *(name for name in self.layers if isinstance(name, str))]

    def map(self, found: dict[str, Array]) -> Array:
        """Return the network's maps, (N, K, H, W), from its tensors by name."""
        says: Any = None  # (K, F) or (N, K, F): what a feature adds to each class
        for layer in self.layers:
            if isinstance(layer, str):
                says = says * (found[layer] > 0)[:, None]
            else:
                says = layer.T if says is None else says @ layer.T
        features = found[self.features]
        images, channels, *places = features.shape
        spoken = says @ features.reshape(images, channels, -1)
        maps: Array = spoken.reshape(images, -1, *places)
        return maps


class ActivationMap:
    """An export's network, asked for its maps."""

    def __init__(self, folder: str | Path) -> None:
        """Open an export's graph where its maps can be seen.

        Raises:
            BloodkerasError: onnx is not installed, or the graph is not built as an export's.
        """
        model = load_model(Path(folder, MODEL_FILE))
        self._head = _find_head(model)
        self._tensors = self._head.tensors()
        self._session = open_at(model, self._tensors)

    def maps(self, images: Pixels) -> Floats:
        """Return the maps of uint8 (N, S, S, 3).

        Returns:
            float32 (N, K, H, W), H and W those of the last convolution. The mean over the places
            is the class's logit without what does not depend on the image's features.
        """
        values = self._session.run(self._tensors, {INPUT_NAME: images})
        return self._head.map(dict(zip(self._tensors, values, strict=True)))


def _find_head(model: "ModelProto") -> _Head:
    """Walk from the probabilities back to the pooling."""
    makers, constants = makers_of(model), constants_of(model)
    node = makers.get(OUTPUT_NAME)
    while node is not None and node.op_type in ("Softmax", "Mul", "Div"):
        node = makers.get(node.input[0])
    layers: list[Floats | str] = []
    while node is not None and node.op_type in ("Gemm", "Relu", "Squeeze"):
        if node.op_type == "Gemm":
            layers.append(kernel_of(node, constants))
        elif node.op_type == "Relu":
            layers.append(node.output[0])
        node = makers.get(node.input[0])
    if node is None or node.op_type != "GlobalAveragePool" or not layers:
        raise BloodkerasError(
            "this graph does not end in a pooling, dense layers and a softmax, as an export does: "
            "export the model again"
        )
    return _Head(tuple(layers), node.input[0])
