"""Searches for a better recipe, on one machine or on several.

Flow: takes a `Plan` and `TuningData`; leaves in one folder

    search.json       the oracle's state     trials/<trial>/checkpoints/     while it may go on
    recipe.json, tuning.csv, history.csv, leaderboard.txt     see leaderboard.py
    parallel_coordinates.png, importance.png                  see plots.py
"""

import logging
import shutil
import time
from pathlib import Path

from keras_tuner import Oracle
from keras_tuner.engine.trial import Trial, TrialStatus

from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.progress import about_when, duration
from bloodkeras.training.device import warn_of_slow
from bloodkeras.training.forecast import guessed_training
from bloodkeras.tuning import plots
from bloodkeras.tuning.leaderboard import Leaderboard, lines, write_tables
from bloodkeras.tuning.oracle import MESSAGE, STATE_FILE, make_oracle
from bloodkeras.tuning.plan import Plan, plan_of
from bloodkeras.tuning.search_space import recipe_of
from bloodkeras.tuning.trial import TuningData, run_trial

LOG = logging.getLogger(__name__)

LOCAL = "local"  # the only worker of a search without a chief
IDLE_SECONDS = 1.0
MEMORY_ERRORS = ("MemoryError", "ResourceExhaustedError")


def tune(
    plan: Plan,
    trials: int,
    data: TuningData,
    folder: Path,
    seconds: float = float("inf"),
    address: str = "",
) -> None:
    """Search, or go on with the search in the folder.

    Args:
        trials: End after so many, those of earlier calls included.
        seconds: The budget; a trial that is under way then is continued by the next call.
        address: HOST:PORT, to hand out the trials there instead of training here.

    Raises:
        BloodkerasError: The folder holds another search or cannot be written, the first trials
            failed without exception, or a chief's address cannot be used.
        KeyboardInterrupt: Ctrl-C; calling again goes on.
    """
    warn_of_slow(plan.start.train_precision)
    if not address:
        _foretell(plan, trials, data, seconds)
    board = Leaderboard(plan, folder)
    oracle = make_oracle(plan, trials)
    try:
        oracle.open(folder / STATE_FILE, seconds, board.show)
        if oracle.trials:
            LOG.info(f"going on with the {len(oracle.trials)} trials in {folder}")
        if address:
            from bloodkeras.tuning.chief import serve

            serve(oracle, address, plan.lost_after)
        else:
            work(oracle, LOCAL, plan, data, folder)
    except KeyboardInterrupt:
        oracle.give_back(LOCAL, lost=False)
        LOG.info("stopped: the same command goes on with the search")
        raise
    finally:
        board.close()
    if oracle.failure:
        raise BloodkerasError(f"the search ended: {oracle.failure}")
    conclude(oracle, plan, data, folder)


def _foretell(plan: Plan, trials: int, data: TuningData, seconds: float) -> None:
    """Say roughly how long the search takes, judged by one step of the recipe it starts from."""
    one = guessed_training(plan.start, data.train, data.val)
    if not one:
        return
    most = min(one * trials, seconds)
    budget = ", or as the budget says" if seconds < float("inf") else ""
    LOG.info(
        f"{trials} trials of up to {plan.start.train_epochs} epochs, which take the starting "
        f"recipe roughly {duration(one)}: done {about_when(most)} at the latest{budget}"
    )


def work(oracle: Oracle, name: str, plan: Plan, data: TuningData, folder: Path) -> None:
    """Train one trial after the other until the oracle has no more.

    Args:
        oracle: An oracle, or a `Chief`.
        name: This worker's; no two may share one.
        folder: For checkpoints: trials/<trial>.
    """
    while True:
        trial = oracle.create_trial(name)
        if trial.status == TrialStatus.STOPPED:
            return
        if trial.status == TrialStatus.IDLE:
            time.sleep(IDLE_SECONDS)
            continue
        with oracle.beating(trial.trial_id, plan.lost_after):
            ended = attempt(oracle, trial, plan, data, folder)
        if ended:
            oracle.end_trial(trial)


def attempt(oracle: Oracle, trial: Trial, plan: Plan, data: TuningData, folder: Path) -> bool:
    """Train one trial and note how it ended; False where the oracle wants it back.

    Raises:
        BloodkerasError: Nothing that is this trial's fault: no disk space, no chief.
    """
    values = trial.hyperparameters.values
    parent = values.get("tuner/trial_id")  # hyperband: of the same settings, trained for less long

    def report(epoch: int, row: dict[str, float]) -> bool:
        status = oracle.update_trial(trial.trial_id, row, step=epoch).status
        return bool(status != TrialStatus.STOPPED)

    try:
        done = run_trial(
            recipe_of(values, plan.start),
            values.get("tuner/epochs", plan.start.train_epochs),
            data,
            folder / "trials" / trial.trial_id,
            report,
            folder / "trials" / parent if parent else None,
        )
    except BloodkerasError:
        raise
    except OSError as error:
        raise BloodkerasError(f"cannot write {folder}: {gist(error)}") from None
    except Exception as error:  # a recipe may fail in any way: the next one is tried
        kind = type(error).__name__
        kind = "out of memory" if kind in MEMORY_ERRORS else kind
        values[MESSAGE] = f"{kind}: {gist(error)[:200]}"
        trial.status = TrialStatus.FAILED
        return True
    if done:  # else it is to be run again, and must not pass for one that ended
        trial.status = TrialStatus.COMPLETED
    return done


def join(model: str, name: str, address: str, data: TuningData, folder: Path) -> None:
    """Work for a chief until it has no more trials.

    Args:
        model: The one that the chief should be searching for, on the same data.
        name: This worker's.
        address: The chief's HOST:PORT.
        folder: For checkpoints. Where it is the chief's too (a shared disk), a lost worker's trial
            is continued, not begun again.

    Raises:
        BloodkerasError: There is no chief, or it searches for something else.
    """
    from bloodkeras.tuning.chief import Chief

    chief = Chief(name, address)
    plan = plan_of(chief.get_space())
    if plan.start.model_name != model:
        raise BloodkerasError(f"the chief tunes {plan.start.model_name!r}, not {model!r}")
    if plan.data != data.sha256:
        raise BloodkerasError(
            f"the chief's data has SHA-256 {plan.data[:12]}..., this worker's "
            f"{data.sha256[:12]}...: give both the same --data"
        )
    LOG.info(f"worker {name}: working for the chief at {address}")
    work(chief, name, plan, data, folder)
    LOG.info(f"worker {name}: done")


def conclude(oracle: Oracle, plan: Plan, data: TuningData, folder: Path) -> None:
    """Write and draw the results, and say what to do with them."""
    found = write_tables(oracle, plan, folder)
    plots.draw(found, plan, folder, data.synthetic)
    print("\n" + "\n".join(lines(found, plan)))
    if oracle.complete():
        shutil.rmtree(folder / "trials", ignore_errors=True)  # nothing will be continued any more
    else:
        LOG.info("the budget is spent; the same command goes on with the search")
    if (folder / "recipe.json").exists():
        print(
            f"best recipe in {folder}; `python -m bloodkeras train {plan.start.model_name} "
            f"--recipe {folder / 'recipe.json'}` trains it for {plan.full_epochs} epochs"
        )
