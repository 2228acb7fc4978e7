"""Random layers that change what differs from laboratory to laboratory and says nothing of a cell.

Flow: takes float32 (B, S, S, 3), 0..255, and strengths; gives images as another stain, lamp,
camera, magnification or focus might have shown them. `augment.py` picks the layers by recipe.

What a stain absorbs adds up as optical density (OD, the negative logarithm of the light that is
left; Beer and Lambert). There another stain, another lamp and another camera's gamma are an affine
map of the three channels, drawn afresh for each image: one 3x3 matrix and one offset.
Sources: stain separation, Ruifrok & Johnston 2001; its vectors for Giemsa's stain as in ImageJ's
Colour Deconvolution; stain augmentation, Tellez et al. 2019 (arXiv:1902.06543).
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.named_types import Floats, Tensor

Seed = Any  # a keras.random.SeedGenerator, or None
# OD of red, green and blue for methylene blue (azure), eosin, and what neither explains.
AZURE, EOSIN = (0.8348, 0.5136, 0.1963), (0.0928, 0.9541, 0.2831)
STAINS = np.array([AZURE, EOSIN, np.cross(AZURE, EOSIN)], np.float32)
DARKEST = 2.5  # OD of a dark nucleus: where a camera's curve is left as it is
LEAST_DENSITY = 1e-6  # 0 to a power has no finite slope
FRAME = BLOODMNIST.image_side  # what a frame measures here, whatever its pixels
BLOCK = 4  # of FRAME; the lightest block of a photograph is empty background
RADII = (10.0, 17.0)  # of FRAME; white cells have 9 to 13
SOFT_EDGE = 3.0  # of FRAME
SHARPEST = 0.1  # of FRAME: a blur that hardly is one
LEAST_SUM = 0.4  # of what a mixed channel is made of, so that none vanishes


def distances(side: int) -> Floats:
    """Return how far each pixel is from the centre, float32 (S, S), of FRAME."""
    rows, columns = (np.mgrid[:side, :side] - (side - 1) / 2) * (FRAME / side)
    found: Floats = np.hypot(rows, columns).astype(np.float32)
    return found


def blur_kernels(side: int, deviations: Tensor) -> Tensor:
    """Return matrices that blur a row of pixels by a Gaussian, (..., S, S) of deviations (...).

    Args:
        side: Pixels of a row.
        deviations: Of FRAME, float32.
    """
    places = np.arange(side, dtype=np.float32) * (FRAME / side)
    squares = (places[:, None] - places) ** 2
    kernels = ops.exp(-squares / (2 * deviations[..., None, None] ** 2))
    return kernels / ops.sum(kernels, -1, keepdims=True)


class ImageLayer(keras.layers.Layer):
    """What the layers here share: they are called as Keras' own, and leave labels alone."""

    def transform_labels(
        self, labels: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Return the labels: the same cell seen otherwise."""
        return labels


class Sometimes(ImageLayer):
    """Applies layers one after the other, and leaves a share of the images wholly untouched.

    Args:
        layers: Layers of this module.
        kept: Share of the images that stay what they are, 0..1.
    """

    def __init__(self, layers: list[ImageLayer], kept: float) -> None:
        super().__init__()
        self.layers, self._kept = layers, kept

    def get_random_transformation(
        self, data: dict[str, Any], training: bool = True, seed: Seed = None
    ) -> Tensor:
        """Draw which images change, bool (B,), and how, a transformation a layer."""
        changed = _uniform(data, (), 0, 1, seed) >= self._kept
        drawn = [layer.get_random_transformation(data, training, seed) for layer in self.layers]
        return changed, drawn

    def transform_images(
        self, images: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Change some of float32 (B, S, S, 3)."""
        changed, drawn = transformation
        found = images
        for layer, each in zip(self.layers, drawn, strict=True):
            found = layer.transform_images(found, each, training)
        return ops.where(ops.reshape(changed, (-1, 1, 1, 1)), found, images)


class RandomStain(ImageLayer):
    """Stains, lights and photographs each image afresh.

    Args:
        strength: The stains' amounts are multiplied by exp(+- this), azure, eosin and the rest
            each by its own, and the three channels likewise.
        mix: Each channel takes up to +- this share of each other channel's OD.
        swap: Share of the images whose channels are put in any order.
        grey: Share of the images that lose their colour.
        curve: OD above the background is raised to exp(+- this): faint things, which are red
            cells and cytoplasm, fade or stand out.
        tint: OD of the background, up to this in each channel; its own if 0. Down to minus half
            of it: what is overexposed is white, and pale things in it are gone.
    """

    def __init__(
        self,
        strength: float = 0.0,
        mix: float = 0.0,
        swap: float = 0.0,
        grey: float = 0.0,
        curve: float = 0.0,
        tint: float = 0.0,
    ) -> None:
        super().__init__()
        self._strength, self._mix, self._curve, self._tint = strength, mix, curve, tint
        self._swap, self._grey = swap, grey

    def get_random_transformation(
        self, data: dict[str, Any], training: bool = True, seed: Seed = None
    ) -> Tensor:
        """Draw the map's matrix (B, 3, 3) and offset (B, 3), and the curve's exponent (B, 1)."""
        stains = ops.exp(_uniform(data, (1, 3), -self._strength, self._strength, seed))
        matrix = ops.matmul(np.linalg.inv(STAINS) * stains, STAINS)
        matrix = ops.matmul(matrix, self._mixing(data, seed))
        channels = ops.exp(_uniform(data, (1, 3), -self._strength, self._strength, seed))
        matrix = self._decolour(matrix * channels, data, seed)
        exponent = ops.exp(_uniform(data, (1,), -self._curve, self._curve, seed))
        light = _uniform(data, (3,), -self._tint / 2, self._tint, seed)
        return matrix, light, exponent

    def transform_images(
        self, images: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Stain float32 (B, S, S, 3) afresh."""
        matrix, tint, exponent = transformation
        density = ops.log(256.0 / (images + 1.0))
        block = round(BLOCK * images.shape[1] / FRAME)
        blocks = ops.average_pool(density, block, block)
        background = ops.min(blocks, (1, 2), keepdims=True)  # (B, 1, 1, 3)
        above = density - background
        if self._curve:
            share = ops.maximum(above, LEAST_DENSITY) / DARKEST
            above = DARKEST * share ** ops.reshape(exponent, (-1, 1, 1, 1))
        pixels = ops.reshape(above, (-1, images.shape[1] * images.shape[2], 3))
        above = ops.reshape(ops.matmul(pixels, matrix), ops.shape(images))
        light = ops.reshape(tint, (-1, 1, 1, 3)) if self._tint else background
        return ops.clip(256.0 * ops.exp(-above - light) - 1.0, 0.0, 255.0)

    def _mixing(self, data: dict[str, Any], seed: Seed) -> Tensor:
        """Draw (B, 3, 3): channels that take of each other, and sometimes change places."""
        eye = ops.eye(3)
        parts = eye + _uniform(data, (3, 3), -self._mix, self._mix, seed) * (1.0 - eye)
        parts = parts / ops.maximum(ops.sum(parts, 1, keepdims=True), LEAST_SUM)
        order = ops.argsort(_uniform(data, (3,), 0, 1, seed), axis=-1)
        swapped = _uniform(data, (1, 1), 0, 1, seed) < self._swap
        return ops.matmul(parts, ops.where(swapped, ops.one_hot(order, 3), eye))

    def _decolour(self, matrix: Tensor, data: dict[str, Any], seed: Seed) -> Tensor:
        """Make all three channels of some images their mean."""
        grey = _uniform(data, (1, 1), 0, 1, seed) < self._grey
        return ops.where(grey, ops.mean(matrix, 2, keepdims=True), matrix)


class RandomFieldOfView(ImageLayer):
    """Shows more or less of the slide: the cell as small or large as other optics make it.

    Args:
        factor: The side of the field is multiplied by 1 / (1 + factor) to 1 + factor, small and
            large as often. What lies outside of the photograph is filled by reflection.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._most = float(np.log1p(factor))

    def get_random_transformation(
        self, data: dict[str, Any], training: bool = True, seed: Seed = None
    ) -> Tensor:
        """Draw by how much, (B,)."""
        return ops.exp(_uniform(data, (), -self._most, self._most, seed))

    def transform_images(
        self, images: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Zoom float32 (B, S, S, 3) about the centre, bilinear."""
        side = transformation
        start, none = (1.0 - side) * (images.shape[1] - 1) / 2, ops.zeros_like(side)
        affine = ops.stack([side, none, start, none, side, start, none, none], axis=1)
        return ops.image.affine_transform(images, affine, "bilinear", fill_mode="reflect")


class RandomSurroundings(ImageLayer):
    """Empties the background around some cells: elsewhere red cells lie thinner, or hardly show.

    Args:
        share: Of the images that are emptied, 0..1, outside of a circle of RADII about the
            centre, with a soft edge.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def get_random_transformation(
        self, data: dict[str, Any], training: bool = True, seed: Seed = None
    ) -> Tensor:
        """Draw the circle's radius, of FRAME, (B,); far outside of the image for the others."""
        radius = _uniform(data, (), *RADII, seed)
        return ops.where(_uniform(data, (), 0, 1, seed) < self._share, radius, FRAME)

    def transform_images(
        self, images: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Empty the background of float32 (B, S, S, 3)."""
        inside = ops.reshape(transformation, (-1, 1, 1)) - distances(images.shape[1])
        inside = ops.clip(inside / SOFT_EDGE + 0.5, 0.0, 1.0)[..., None]
        block = round(BLOCK * images.shape[1] / FRAME)
        light = ops.max(ops.average_pool(images, block, block), (1, 2), keepdims=True)
        return light + inside * (images - light)


class RandomFocus(ImageLayer):
    """Blurs or sharpens each image, along the two axes each by its own.

    A blurred image keeps nothing of what is finer, as behind other optics: a share of it mixed
    with the sharp one would leave the finest grain, only paler, and networks learn to read that.

    Args:
        strength: The blur's largest standard deviation, of FRAME. As many images are sharpened: up
            to this share of what such a blur takes away is added to them.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self._strength = strength

    def get_random_transformation(
        self, data: dict[str, Any], training: bool = True, seed: Seed = None
    ) -> Tensor:
        """Draw the deviations (B, 2), and how far to go to the blurred image (B,), below 0 away."""
        deviations = _uniform(data, (2,), SHARPEST, max(SHARPEST, self._strength), seed)
        away = _uniform(data, (), -self._strength, self._strength, seed)
        return deviations, ops.where(away > 0, 1.0, away)

    def transform_images(
        self, images: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Blur or sharpen float32 (B, S, S, 3)."""
        deviations, share = transformation
        kernels = blur_kernels(images.shape[1], deviations)  # (B, 2, S, S)
        blurred = ops.einsum("bij,bjkc->bikc", kernels[:, 0], images)
        blurred = ops.einsum("bij,bkjc->bkic", kernels[:, 1], blurred)
        share = ops.reshape(share, (-1, 1, 1, 1))
        return ops.clip(images + share * (blurred - images), 0.0, 255.0)


class RandomNoise(ImageLayer):
    """Adds a camera's noise.

    Args:
        most: The largest standard deviation, in grey levels; each image has its own.
    """

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def get_random_transformation(
        self, data: dict[str, Any], training: bool = True, seed: Seed = None
    ) -> Tensor:
        """Draw the noise itself, (B, S, S, 3)."""
        deviation = _uniform(data, (1, 1, 1), 0, self._most, seed)
        return deviation * keras.random.normal(ops.shape(data["images"]), seed=seed)

    def transform_images(
        self, images: Tensor, transformation: Tensor, training: bool = True
    ) -> Tensor:
        """Add it to float32 (B, S, S, 3)."""
        return ops.clip(images + transformation, 0.0, 255.0)


def _uniform(
    data: dict[str, Any], shape: tuple[int, ...], low: float, high: float, seed: Seed
) -> Tensor:
    """Draw float32 (B, *shape), for each image its own."""
    return keras.random.uniform((ops.shape(data["images"])[0], *shape), low, high, seed=seed)
