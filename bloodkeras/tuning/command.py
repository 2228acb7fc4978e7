"""`python -m bloodkeras tune`: its options, and what each of its three kinds of process does.

Flow: takes the options; checks them before anything heavy is imported; searches.
"""

import dataclasses
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bloodkeras.errors import UsageError, missing_package
from bloodkeras.recipe import Recipe, full_names, hint, named_recipe, override
from bloodkeras.tuning.search_space import OBJECTIVES, STRATEGIES

if TYPE_CHECKING:
    from bloodkeras.data.splits import Splits


@dataclass(frozen=True)
class Options:
    """The command line of `tune`, checked.

    Attributes:
        start: The recipe to start from, with its full number of epochs.
        held: Its fields that stay as they are.
        trials: How many.
        strategy: One of STRATEGIES.
        objective: One of OBJECTIVES.
        seconds: The budget.
        epochs: Of the longest trial.
        chief: HOST:PORT, or "".
        worker: This worker's name, or "".
        lost_after: Seconds.
    """

    start: Recipe
    held: tuple[str, ...]
    trials: int
    strategy: str
    objective: str
    seconds: float
    epochs: int
    chief: str
    worker: str
    lost_after: float


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

    def require(holds: bool, name: str, expected: str, found: object) -> None:
        if not holds:
            raise UsageError(f"--{name} must be {expected}, not {found!r}")

    start = override(named_recipe(model), settings)
    for name, word, known in (
        ("strategy", strategy, STRATEGIES),
        ("objective", objective, OBJECTIVES),
    ):
        if word not in known:
            raise UsageError(f"unknown --{name} {word!r}: {hint(word, known)}")
    require(trials > 0, "trials", "above 0", trials)
    require(epochs >= 0, "epochs", "above 0", epochs)
    require(budget_minutes >= 0, "budget-minutes", "above 0", budget_minutes)
    require(lost_after > 0, "lost-after", "above 0", lost_after)
    if worker and not chief:
        raise UsageError("--worker NAME needs --chief HOST:PORT: where is it?")
    if importlib.util.find_spec("keras_tuner") is None:
        raise missing_package("KerasTuner", "tune")
    epochs = epochs or max(1, start.train_epochs // 4)
    seconds = budget_minutes * 60 or float("inf")
    held = tuple(sorted(full_names(settings)))
    return Options(
        start, held, trials, strategy, objective, seconds, epochs, chief, worker, lost_after
    )


def run_tune(options: Options, splits: "Splits", folder: Path) -> None:
    """Search on this machine, or be the chief or a worker of a search on several.

    Args:
        options: What `check_options` returned.
        splits: The data; the search is given no test split.
        folder: Of the search.
    """
    from functools import partial

    from bloodkeras.tuning.plan import Plan
    from bloodkeras.tuning.search import join, tune
    from bloodkeras.tuning.trial import TuningData

    data = TuningData.of(splits)
    if options.worker:
        join(options.start.model_name, options.worker, options.chief, data, folder)
        return
    plan = Plan(
        start=dataclasses.replace(options.start, train_epochs=options.epochs),
        held=options.held,
        strategy=options.strategy,
        objective=options.objective,
        data=splits.sha256,
        full_epochs=options.start.train_epochs,
        lost_after=options.lost_after,
    )
    serve = None
    if options.chief:
        from bloodkeras.tuning import chief

        serve = partial(chief.serve, address=options.chief, lost_after=options.lost_after)
    tune(plan, options.trials, data, folder, options.seconds, serve)
