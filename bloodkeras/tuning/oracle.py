"""KerasTuner's oracles, made to outlive a kill, a worker that is lost, and a spent budget.

Flow: takes a `Plan`; gives an oracle, to be opened in a folder, that hands out trials and is told
how they went.

What KerasTuner 1.4.8 does otherwise: it writes its state in many files, in place, so that a kill
can leave half of one; an ended trial is still noted as running for a moment, and would be run
again; a worker that dies keeps its trial for ever, and the chief waits for it (keras-tuner#915).
"""

import collections
import contextlib
import copy
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner import oracles
from keras_tuner.engine.trial import Trial, TrialStatus

from bloodkeras.errors import BloodkerasError, gist
from bloodkeras.named_types import Json
from bloodkeras.tuning.plan import PLAN, Plan, plan_of, require_same
from bloodkeras.tuning.search_space import OBJECTIVES, search_space
from bloodkeras.whole_file import make_folder, whole_file

STATE_FILE = "search.json"
MESSAGE = "tuner/message"  # gRPC drops Trial.message, so it travels among the values
MAX_LOSSES = 3  # a trial that took its process with it so often, without a new epoch, has failed
MAX_FAILURES = 10  # in a row: the search has no prospects
NEVER = 10**9


class SteadyOracle(keras_tuner.Oracle):
    """Goes before one of KerasTuner's oracles.

    Attributes:
        file: The one file of state, replaced as a whole.
        deadline: time.monotonic() when the budget is spent.
        failure: What went wrong where it could not be raised: KerasTuner keeps its lock when an
            exception passes through, and everyone would wait.
        on_change: Called with the oracle and the trial whenever one went on or ended.
    """

    file: Path
    deadline: float
    failure: str | None
    on_change: Callable[..., Any]

    def open(self, file: Path, seconds: float, on_change: Callable[..., Any]) -> None:
        """Start over, or go on from the file.

        Raises:
            BloodkerasError: The file is damaged, of another plan, or in a folder that cannot be
                written.
        """
        make_folder(file.parent)
        self.file, self.on_change, self.failure = file, on_change, None
        self.deadline = time.monotonic() + seconds
        self.heard: dict[str, float] = {}  # tuner id -> time.monotonic() of its last call
        self.began: dict[str, float] = {}  # trial id -> time.monotonic() of its start
        self.seconds: dict[str, float] = collections.defaultdict(float)  # trial id -> spent on it
        # trial id -> processes that it died with
        self.losses: collections.Counter[str] = collections.Counter()
        self.exhausted = False  # nothing is left to try
        self.verbose = 0
        if file.exists():
            self.reload()

    def save(self) -> None:
        """Replace the file of state."""
        state = {
            "oracle": self.get_state(),
            "trials": [trial.get_state() for trial in self.trials.values()],
            "seconds": self.seconds,
            "losses": self.losses,
        }
        try:
            with whole_file(self.file) as file:
                file.write(json.dumps(state, default=lambda number: number.item()).encode())
        except BloodkerasError as error:
            self.failure = str(error)

    def reload(self) -> None:
        """Read the file of state; what was running is to be run again."""
        try:
            state = json.loads(self.file.read_text(encoding="utf-8"))
            kept = keras_tuner.HyperParameters.from_config(
                copy.deepcopy(state["oracle"]["hyperparameters"])
            )
            require_same(plan_of(self.hyperparameters), plan_of(kept), self.file.parent)
            trials = [Trial.from_state(trial) for trial in state["trials"]]
            self.trials = {trial.trial_id: trial for trial in trials}
            self.set_state(state["oracle"])
            self.seconds.update(state["seconds"])
            self.losses.update(state["losses"])
        except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
            raise BloodkerasError(
                f"{self.file} is not a search of this version ({gist(error)}): move its folder "
                "away, or choose another --out"
            ) from None
        for tuner_id in list(self.ongoing_trials):
            self.give_back(tuner_id)

    def populate_space(self, trial_id: str) -> Json:
        """Choose values: the starting recipe's first, so that there is something to beat."""
        if not self.trials:  # the space's own values are its defaults
            return {"status": TrialStatus.RUNNING, "values": dict(self.hyperparameters.values)}
        try:
            found: Json = super().populate_space(trial_id)
            return found
        except Exception as error:  # see `failure`
            self.failure = f"{type(error).__name__}: {gist(error)}"
            return {"status": TrialStatus.STOPPED}

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """Hand out a trial; STOPPED when there is none any more, IDLE when there may be later."""
        spent = self.spent()
        if tuner_id in self.ongoing_trials:  # it was started again, or gave up
            self.give_back(tuner_id, lost=not spent)
        self.heard[tuner_id] = time.monotonic()
        last = [self.trials[key].status for key in self.end_order[-MAX_FAILURES:]]
        if last.count(TrialStatus.FAILED) == MAX_FAILURES:
            message = self.trials[self.end_order[-1]].message
            self.failure = f"the last {MAX_FAILURES} trials failed; the latest: {message}"
        full = len(self.trials) >= self.max_trials and not self._retry_queue
        if spent or self.failure or (full and not self.ongoing_trials):
            self.exhausted = True
            self.tuner_ids.discard(tuner_id)
            return Trial(self.get_space(), status=TrialStatus.STOPPED)
        if full:  # another worker may still be lost, and its trial be free again
            self.tuner_ids.add(tuner_id)
            return Trial(self.get_space(), status=TrialStatus.IDLE)
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self.began[trial.trial_id] = time.monotonic()
            self._changed(trial)
        return trial

    @keras_tuner.synchronized
    def update_trial(self, trial_id: str, metrics: Json, step: int = 0) -> Trial:
        """Note an epoch's metrics, step counting from 1; STOPPED in the answer: end the trial."""
        trial = self.trials[trial_id]
        if step == 1:  # a trial that is run again reports all of its epochs again
            trial.metrics = type(trial.metrics)()
        super().update_trial(trial_id, metrics, step)
        self.losses.pop(trial_id, None)
        self._hear(trial_id)
        self.save()
        self._changed(trial)
        return self._answer(trial)

    @keras_tuner.synchronized
    def get_trial(self, trial_id: str) -> Trial:
        """Return a trial, with status STOPPED once the budget is spent: a worker's heartbeat."""
        self._hear(trial_id)
        return self._answer(self.trials[trial_id])

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Note that a trial ended; a second time it is not listened to."""
        known = self.trials[trial.trial_id]
        if trial.trial_id in self.end_order:
            return  # by a worker that was given up for lost
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
        trial.message = trial.hyperparameters.values.pop(MESSAGE, None)
        self._stop_clock(trial.trial_id)
        super().end_trial(trial)
        self.save()  # KerasTuner saves before it forgets that the trial runs
        self._changed(known)

    @keras_tuner.synchronized
    def give_back(self, tuner_id: str, lost: bool = True) -> None:
        """Take a trial from a worker and put it in line again.

        Args:
            tuner_id: The worker; it may have no trial.
            lost: Whether it may be the trial's fault. After MAX_LOSSES it has failed.
        """
        self.tuner_ids.discard(tuner_id)
        self.heard.pop(tuner_id, None)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None or trial.status != TrialStatus.RUNNING:
            return
        key = trial.trial_id
        self._stop_clock(key)
        self.losses[key] += lost
        if self.losses[key] < MAX_LOSSES:
            trial.status = TrialStatus.INVALID  # KerasTuner's name for: to be run again
            self._retry_queue.append(key)
        else:
            trial.status = TrialStatus.FAILED
            trial.message = f"its process ended {MAX_LOSSES} times in it (out of memory?)"
            self.end_order.append(key)
        self.save()
        self._changed(trial)

    @keras_tuner.synchronized
    def drop_silent(self, seconds: float) -> list[str]:
        """Give back the trials of workers not heard of for so long; return their names."""
        now = time.monotonic()
        known = self.tuner_ids | set(self.ongoing_trials)
        silent = [name for name in known if now - self.heard.get(name, 0) > seconds]
        for name in silent:
            self.give_back(name)
        return silent

    @keras_tuner.synchronized
    def finished(self) -> bool:
        """Return whether nothing is to do and no worker is left that must be told so."""
        if self.ongoing_trials or self.tuner_ids:
            return False
        return self.spent() or self.exhausted or self.complete()

    def beating(self, trial_id: str, lost_after: float) -> AbstractContextManager[None]:
        """Do nothing: a worker in the oracle's own process needs no heartbeat."""
        return contextlib.nullcontext()

    def complete(self) -> bool:
        """Return whether all trials of the plan have ended."""
        return bool(len(self.end_order) >= self.max_trials)

    def spent(self) -> bool:
        """Return whether the budget is spent."""
        return time.monotonic() > self.deadline

    def _stop_clock(self, trial_id: str) -> None:
        now = time.monotonic()
        self.seconds[trial_id] += round(now - self.began.pop(trial_id, now), 1)

    def _answer(self, trial: Trial) -> Trial:
        if not self.spent() and not self.failure:
            return trial
        answer = copy.copy(trial)
        answer.status = TrialStatus.STOPPED
        return answer

    def _hear(self, trial_id: str) -> None:
        for tuner_id, trial in self.ongoing_trials.items():
            if trial.trial_id == trial_id:
                self.heard[tuner_id] = time.monotonic()

    def _changed(self, trial: Trial) -> None:
        try:
            self.on_change(self, trial)
        except (OSError, BloodkerasError) as error:  # see `failure`
            self.failure = str(error)

    def _save_trial(self, trial: Trial) -> None:
        """Do nothing: trials are in the one file of state."""


class _Hyperband(SteadyOracle, oracles.HyperbandOracle):
    pass


class _Bayesian(SteadyOracle, oracles.BayesianOptimizationOracle):
    pass


class _Random(SteadyOracle, oracles.RandomSearchOracle):
    pass


def make_oracle(plan: Plan, trials: int) -> SteadyOracle:
    """Return the plan's oracle, to be opened."""
    space = search_space(plan.start, set(plan.held))
    space.Fixed(PLAN, plan.to_json())
    common = {
        "objective": keras_tuner.Objective(plan.objective, OBJECTIVES[plan.objective]),
        "hyperparameters": space,
        "seed": plan.start.train_seed,
        "max_consecutive_failed_trials": NEVER,  # it would raise with the lock in hand
    }
    if plan.strategy == "hyperband":
        epochs = plan.start.train_epochs
        oracle = _Hyperband(max_epochs=epochs, hyperband_iterations=NEVER, **common)
        oracle.max_trials = trials  # KerasTuner's constructor does not take it
    elif plan.strategy == "bayesian":
        # By default three for each dimension: more than most searches have trials.
        oracle = _Bayesian(max_trials=trials, num_initial_points=max(3, trials // 3), **common)
    else:
        oracle = _Random(max_trials=trials, **common)
    return oracle
