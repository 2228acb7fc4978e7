"""Joins two trained networks: one for images like the training data, one for all others.

Flow: takes two `Run` and `Splits`; gives a run folder whose model.keras is both in one, which
`evaluate` and `export` take like any other.

A network is better at home for having seen nothing else, and elsewhere for having seen everything
(docs/another_laboratory.md has both in numbers). An image's colours say where it is from: where
they are those of the training data, the answer is the mean of both, elsewhere the second alone's.
"""

import dataclasses
from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import ops

from bloodkeras.contract import RUN_HISTORY, RUN_MODEL
from bloodkeras.data.splits import Splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.laboratory.shift_score import colours, distances
from bloodkeras.named_types import Floats, Tensor
from bloodkeras.progress import told
from bloodkeras.recipe import JOINED
from bloodkeras.training.checkpoint import written_plainly
from bloodkeras.training.colours import Colours, Usual
from bloodkeras.training.gaussian import gaussian
from bloodkeras.training.models import multiply_adds, parameter_count, predict_proba
from bloodkeras.training.run_folder import Run, begin_run, conditions, write_info

USUAL_ON_VAL = 0.99  # share of the validation split whose colours count as usual
HOME_SHARE = 0.5  # of the answer, where colours are usual: chosen on the validation split
TINY = 1e-9  # a probability whose logarithm is still a number


def join(home: Run, elsewhere: Run, splits: Splits, folder: Path) -> Path:
    """Join the best models of two runs and leave a run folder.

    Args:
        home: The better one on images like the training data.
        elsewhere: The better one on all others; the recipe of the new run is its own, but for
            the name.
        splits: What both were trained on: train says which colours there are, val which are usual.
        folder: The new run's; an earlier run there is moved aside.

    Raises:
        BloodkerasError: One of them was trained on other data, or the folder cannot be written.
    """
    for run in (home, elsewhere):
        if run.data != splits.fingerprint():
            raise BloodkerasError(
                f"{run.folder} was trained on {run.data['file']}, and {splits.source} is not "
                "that: join runs of the same data"
            )
    model = build_joined(home.model, elsewhere.model)
    model.get_layer("usual").set(*usual_colours(splits))
    probs = np.concatenate(told(partial(predict_proba, model), splits.val.images))
    chosen = probs[np.arange(len(probs)), splits.val.labels]
    right = probs.argmax(1) == splits.val.labels
    info = conditions(deterministic=True) | {
        "status": "running",
        "precision": elsewhere.precision,
        "seconds": home.info["seconds"] + elsewhere.info["seconds"],
        "parameters": parameter_count(model),
        "multiply_adds": multiply_adds(model),
        "joined": {
            place: {
                "model": run.recipe.model_name,
                "weights_sha256": run.weights,
                "teachers": run.info.get("teachers", []),
            }
            for place, run in (("home", home), ("elsewhere", elsewhere))
        },
    }
    begin_run(folder, dataclasses.replace(elsewhere.recipe, model_name=JOINED), splits, info)
    with written_plainly(folder):
        model.save(folder / RUN_MODEL)
        row = f"0,{right.mean():.6f},{-np.log(chosen).mean():.6f}"
        (folder / RUN_HISTORY).write_text(f"epoch,val_accuracy,val_loss\n{row}\n", encoding="utf-8")
        write_info(folder, info | {"status": "finished"})
    return folder


def build_joined(home: keras.Model, elsewhere: keras.Model) -> keras.Model:
    """Return both networks as one, from raw pixels 0..255 (B, S, S, 3) to logits (B, K).

    Its layer "usual" knows of no usual colours yet.
    """
    images = keras.Input(home.input_shape[1:], name="images")
    usual = Usual(home.output_shape[-1], name="usual")(
        Colours(name="gate_colours")(images)
    )  # (B, 1)
    share = HOME_SHARE * usual
    # The second last: the features that the foreign score looks at are then its own.
    first, second = (
        ops.softmax(graft(model, images, name))
        for model, name in ((home, "home"), (elsewhere, "elsewhere"))
    )
    probs = share * first + (1 - share) * second
    return keras.Model(images, ops.log(probs + TINY), name=JOINED)


def graft(model: keras.Model, images: Tensor, prefix: str) -> Tensor:
    """Return what a copy of a network says of an input; its layers get a prefix to their names."""

    def renamed(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config(layer.get_config() | {"name": f"{prefix}_{layer.name}"})

    copy = keras.models.clone_model(model, input_tensors=images, clone_function=renamed)
    copy.set_weights(model.get_weights())
    return copy.output


def usual_colours(splits: Splits) -> tuple[dict[str, Floats], float]:
    """Return what `Usual.set` is told: the colours of the training split, and how far is usual."""
    fitted = gaussian(colours(splits.train.images), splits.train.labels)
    return fitted, float(np.quantile(distances(fitted, splits.val.images), USUAL_ON_VAL))
