"""`python -m bloodkeras tune`: its options, and what each of its three kinds of process does.

Flow: takes the options; checks them before anything heavy is imported; searches.
"""

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bloodkeras.errors import UsageError, missing_package
from bloodkeras.recipe import full_names, hint, override
from bloodkeras.recipes import named_recipe, untaught
from bloodkeras.tuning.plan import Plan
from bloodkeras.tuning.search_space import OBJECTIVES, STRATEGIES

if TYPE_CHECKING:
    from bloodkeras.data.splits import Splits


class Options(NamedTuple):
    """The command line of `tune`, checked.

    Attributes:
        plan: What is searched for; its data are not known yet.
        trials: End after so many.
        seconds: The budget.
        chief: HOST:PORT, or "".
        worker: This worker's name, or "".
    """

    plan: Plan
    trials: int
    seconds: float
    chief: str
    worker: str


def check_options(
    model: str,
    trials: int,
    strategy: str,
    budget_minutes: float,
    epochs: int,
    objective: str,
    chief: str,
    worker: str,
    lost_after: float,
    settings: dict[str, str],
) -> Options:
    """Return the options of the command line.

    Raises:
        UsageError: One has a wrong value; the message says what was expected.
        BloodkerasError: KerasTuner is not installed.
    """
    start = untaught(override(named_recipe(model), settings))
    for name, word, known in (
        ("strategy", strategy, STRATEGIES),
        ("objective", objective, OBJECTIVES),
    ):
        if word not in known:
            raise UsageError(f"unknown --{name} {word!r}: {hint(word, known)}")
    for name, value, holds in (
        ("trials", trials, trials > 0),
        ("epochs", epochs, epochs >= 0),
        ("budget-minutes", budget_minutes, budget_minutes >= 0),
        ("lost-after", lost_after, lost_after > 0),
    ):
        if not holds:
            raise UsageError(f"--{name} must be above 0, not {value!r}")
    if worker and not chief:
        raise UsageError("--worker NAME needs --chief HOST:PORT: where is it?")
    if importlib.util.find_spec("keras_tuner") is None:
        raise missing_package("KerasTuner", "tune")
    plan = Plan(
        start=dataclasses.replace(start, train_epochs=epochs or max(1, start.train_epochs // 4)),
        held=tuple(sorted(full_names(settings))),
        strategy=strategy,
        objective=objective,
        data="",
        full_epochs=start.train_epochs,
        lost_after=lost_after,
    )
    return Options(plan, trials, budget_minutes * 60 or float("inf"), chief, worker)


def run_tune(options: Options, splits: "Splits", folder: Path) -> None:
    """Search on this machine, or be the chief or a worker of a search on several."""
    from bloodkeras.tuning.search import join, tune
    from bloodkeras.tuning.trial import TuningData

    data = TuningData.of(splits)
    plan = dataclasses.replace(options.plan, data=splits.sha256)
    if options.worker:
        join(plan.start.model_name, options.worker, options.chief, data, folder)
    else:
        tune(plan, options.trials, data, folder, options.seconds, options.chief)
