"""What a job of many answers was begun with: it is gone on with the same, or not at all.

Flow: takes a classifier and how it is asked; gives what `predict` writes beside a table and `score`
into its plan, and refuses another.
"""

import onnxruntime

import bloodkeras
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.prior import Weights, describe
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.framing import Framing
from bloodkeras.named_types import Json


def describe_model(classifier: Classifier, precision: str) -> Json:
    """Return which network answers, and which programs run it: others may change the last bits."""
    return {
        "model": str(classifier.card.get("model", "")),
        "precision": precision,
        "model_sha256": classifier.sha256,
        "labels": list(classifier.labels),
        "confidence_threshold": classifier.thresholds.confidence,
        "foreign_threshold": str(classifier.thresholds.foreign),  # may be inf, which JSON lacks
        "bloodkeras": bloodkeras.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def describe_asking(prior: Weights | None, framing: Framing, views: bool) -> Json:
    """Return how a network is asked."""
    return {
        "prior": prior and dict(prior.by_class),
        "possible": sorted(prior.possible) if prior else [],
        "microns_per_pixel": framing.microns_per_pixel,
        "scales": dict(framing.scales),
        "views": views,
    }


def refuse_another(found: Json, wanted: Json, out: str) -> None:
    """Refuse to go on with a job that was begun with something else.

    Args:
        found: What the job was begun with.
        wanted: What it would be gone on with.
        out: Where its answers are, for the message.

    Raises:
        BloodkerasError: They differ; the message says in what.
    """
    if missing := set(wanted) - set(found):
        raise BloodkerasError(
            f"cannot resume {out}: an earlier version of bloodkeras began it, which did not note "
            f"{', '.join(sorted(missing)).replace('_', ' ')}; choose another --out"
        )
    for key, now in wanted.items():
        if (was := found.get(key)) != now:
            if key == "prior":
                was, now = describe(was), describe(now)
            raise BloodkerasError(
                f"cannot resume {out}: it was begun with {key.replace('_', ' ')} {was or 'none'}, "
                f"this is {now or 'none'}; give the same as then, or choose another --out"
            )
