"""BloodKeras: a small blood-cell classifier, from BloodMNIST to a checked ONNX file.

The map, in the order the data flows: what stands here imports only what stands above it, and each
folder lists its own files in the same order.

    errors.py      what a user is told, and the exit status that goes with it
    named_types.py  the names of types: Pixels, Probs, Labels, Json, ...
    contract.py    facts: names of files, tensors and verdicts, and limits
    dataset.py     what a data set is: a value that travels with images, runs, exports
    bloodmnist.py  the one that is meant by default: 28 pixels, eight classes
    cores.py       how many cores of the processor this process may use
    interrupts.py  Ctrl-C and SIGTERM, which must not get lost
    whole_file.py  a file that is whole or not there
    recipe.py      every setting of a training, as one frozen dataclass, and typed overrides
    recipes.py     choices: the named recipes
    progress.py    how far it is and when it ends: a bar, or a line now and then

  What a deployment installs: numpy, onnxruntime, Pillow; never TensorFlow.

    images/        a file of any kind -> pixels
    answers/       pixels -> answers, tables, pages
    laboratory/    one's own cells: how good is an export there, and one calibrated on them
    fields/        whole fields of view -> their white cells, found and counted
    scoring/       millions of images, here or on Ray
    serving/       answers over HTTP
    labelling/     a page on which a person names cells
    demo/          a page to try a model on

  What makes the models, on TensorFlow.

    data/          a data set, found, downloaded and checked
    training/      recipe and images -> a run folder
    evaluation/    predictions and labels -> numbers and figures
    tuning/        the search for a better recipe
    export/        a run -> a checked ONNX file with its card
    benchmark/     the ways to run a network, side by side
    studies/       the whole flow in order: `make all`
    api.py         what Python calls: train, evaluate, export_run, read_photograph
    cli/           the command line and its manners
    __main__.py    the command table

The two sides meet in an ONNX file and its card, and in one seam:
`predict_proba(uint8 (N, S, S, 3)) -> float32 (N, K)`. A Keras run and an export both satisfy
it, so the same `evaluate` judges both.

From Python: `bloodkeras.load("residual").predict("cell.jpg")`; docs/python.md says what else.
"""

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bloodkeras.answers.classifier import Classifier, Prediction, load
    from bloodkeras.api import (
        evaluate,
        export_run,
        get_recipe,
        load_run,
        read_photograph,
        train,
    )
    from bloodkeras.data.splits import Split, Splits, load_splits
    from bloodkeras.errors import BloodkerasError
    from bloodkeras.evaluation.evaluate import Report
    from bloodkeras.recipe import Recipe
    from bloodkeras.training.run_folder import Run

__version__ = "0.1.0"
__all__ = [
    "BloodkerasError",
    "Classifier",
    "Prediction",
    "Recipe",
    "Report",
    "Run",
    "Split",
    "Splits",
    "evaluate",
    "export_run",
    "get_recipe",
    "load",
    "load_run",
    "load_splits",
    "read_photograph",
    "train",
]
# Where each public name lives. None may be a folder's or a file's of this package as well.
_HOMES = {
    "BloodkerasError": "errors",
    "Classifier": "answers.classifier",
    "Prediction": "answers.classifier",
    "Recipe": "recipe",
    "Report": "evaluation.evaluate",
    "Run": "training.run_folder",
    "Split": "data.splits",
    "Splits": "data.splits",
    "evaluate": "api",
    "export_run": "api",
    "get_recipe": "api",
    "load": "answers.classifier",
    "load_run": "api",
    "load_splits": "data.splits",
    "read_photograph": "api",
    "train": "api",
}

# Progress and warnings are logged. Nobody sees them who has not asked, as `logging.basicConfig` or
# the command line does.
logging.getLogger(__name__).addHandler(logging.NullHandler())

# Nothing leaves the machine. Some packages count their users, and read these variables when they
# are imported; this file is always run before that, in worker processes too. Whoever has set one
# himself is left alone.
_QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime 1.29 and newer: a device id, Microsoft's server
    "GRADIO_ANALYTICS_ENABLED": "False",  # and its look for a newer version
    "HF_HUB_DISABLE_TELEMETRY": "1",  # comes with Gradio
    "RAY_USAGE_STATS_ENABLED": "0",
}
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)


def __getattr__(name: str) -> Any:
    """Import what is public when it is asked for, so that importing the package stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"bloodkeras.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
