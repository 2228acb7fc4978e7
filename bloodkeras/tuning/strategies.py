"""Hyperband, Bayesian optimisation and random search: the plan's word -> an oracle.

Flow: takes a `Plan`; gives one of KerasTuner's oracles made steady, to be opened.
"""

import keras_tuner
from keras_tuner import oracles

from bloodkeras.tuning.oracle import SteadyOracle
from bloodkeras.tuning.plan import PLAN, Plan
from bloodkeras.tuning.search_space import OBJECTIVES, search_space

NEVER = 10**9


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
