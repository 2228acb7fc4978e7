"""Says whether a set of images looks like those a network was trained on, by colours alone.

Flow: takes uint8 images and what an export's card says of the training data; gives numbers and a
sentence. The network is not asked: one that was made to overlook stains must not answer this.
"""

import numpy as np

from bloodkeras.named_types import Floats, Json, Labels, Pixels

USUAL = 0.95  # share of the validation split's images whose colours count as usual
CERTAINTY = 2.33  # standard errors: a set as good as the worst class exceeds the limit once in 100
PARTS = ("centre", "whitening", "means")


def centre_of(side: int) -> slice:
    """Return the rows, and the columns, where the cell lies."""
    return slice(side // 4, 3 * side // 4)


def colours(images: Pixels) -> Floats:
    """Return mean and deviation of each channel, those of the centre, and its darkest values.

    What `export.colours.Colours` builds into the graph, in numpy.

    Args:
        images: uint8 (N, S, S, 3).

    Returns:
        float64 (N, 15), of pixels scaled to 0..1.
    """
    pixels = images / 255.0
    middle = centre_of(images.shape[1])
    centre = pixels[:, middle, middle]
    moments = [f(part, axis=(1, 2)) for part in (pixels, centre) for f in (np.mean, np.std)]
    return np.concatenate([*moments, centre.min((1, 2))], axis=-1)


def describe_colours(fitted: Json, images: Pixels, labels: Labels) -> Json:
    """Return what a card must hold for `judge_colours`.

    Args:
        fitted: `export.gaussian.gaussian` of the training split's colours.
        images: uint8 (N, S, S, 3), the validation split.
        labels: int (N,), its classes.

    Returns:
        Plain numbers and lists.
    """
    found = {name: np.round(fitted[name].astype(float), 5).tolist() for name in PARTS}
    far = distances(found, images)
    threshold = float(np.quantile(far, USUAL))
    unusual = {int(k): float((far[labels == k] > threshold).mean()) for k in np.unique(labels)}
    return found | {
        "threshold": threshold,
        "unusual_on_val": 1 - USUAL,
        "most_in_a_class": max(unusual.values()),
        "mean_colour": np.round(images.mean((0, 1, 2)), 1).tolist(),
    }


def judge_colours(described: Json, images: Pixels) -> Json:
    """Return how unusual the colours of a set of images are.

    A laboratory may have any mixture of the classes, so the limit is what the most unusual class
    of the validation split shows, and what chance adds to it in a set of this size.

    Args:
        described: Of the card: what `describe_colours` returned.
        images: uint8 (N, S, S, 3).

    Returns:
        "unusual": share of images; "limit": of that share; "shifted": whether it is above it;
        "mean_colour" of the images, RGB, 0..255, and "mean_colour_of_training".
    """
    unusual = float((distances(described, images) > described["threshold"]).mean())
    most = described["most_in_a_class"]
    limit = min(1.0, most + CERTAINTY * float(np.sqrt(most * (1 - most) / len(images))))
    return {
        "unusual": unusual,
        "limit": limit,
        "shifted": unusual > limit,
        "mean_colour": np.round(images.mean((0, 1, 2)), 1).tolist(),
        "mean_colour_of_training": described["mean_colour"],
    }


def sentence(shift: Json | None, model: str) -> str:
    """Say in plain words whether the images look like the training data.

    Args:
        shift: What `judge_colours` returned; None where the card holds nothing to compare with.
        model: The model that was trained.
    """
    if shift is None:
        return (
            "Whether these images look like the training data cannot be said: the card of this "
            f"export holds no colours to compare with. Export it again (`python -m bloodkeras "
            f"export {model}`)."
        )
    share = f"{shift['unusual']:.1%} of them have colours unlike the cells there"
    limit = f"(up to {shift['limit']:.1%} may)"
    if not shift["shifted"]:
        return f"These images look like the training data: {share} {limit}."
    here, there = (
        "/".join(f"{value:.0f}" for value in shift[key])
        for key in ("mean_colour", "mean_colour_of_training")
    )
    return (
        f"These images do not look like the training data: {share} {limit}; their mean colour is "
        f"R/G/B {here}, there it is {there}. What the model card promises does not hold here: go "
        "by the accuracy on labelled cells of your own."
    )


def distances(fitted: Json, images: Pixels) -> Floats:
    """Return the distance of each image's colours to those of the nearest class.

    Args:
        fitted: `gaussian` of the training split's colours, or the card's numbers of it.
        images: uint8 (N, S, S, 3).

    Returns:
        float (N,), in standard deviations.
    """
    centre, whitening, means = (np.asarray(fitted[name]) for name in PARTS)
    white = (colours(images) - centre) @ whitening
    found: Floats = np.sqrt(((white[:, None] - means) ** 2).sum(-1).min(1))
    return found
