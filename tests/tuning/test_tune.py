"""The search: stays in its space, never sees the test split, outlives kills and lost workers.

Most of it is tested with trainings that only pretend; three tests train.
"""

import csv
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras_tuner
import numpy as np
import pytest

from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.recipe import Recipe, override, read_recipe
from bloodkeras.recipes import RECIPES
from bloodkeras.training.models import build_model, parameter_count
from bloodkeras.tuning import plots, search, trial
from bloodkeras.tuning.command import check_options
from bloodkeras.tuning.oracle import STATE_FILE
from bloodkeras.tuning.plan import Plan
from bloodkeras.tuning.search_space import SPACE, Range, recipe_of, search_space
from bloodkeras.tuning.trial import TuningData, run_trial

ROOT = Path(__file__).parents[2]
TRIALS = 8
ROW = {"loss": 1.0, "val_accuracy": 0.5, "val_auc": 0.5, "val_loss": 1.0}


def plan(strategy="random", epochs=3, **changes) -> Plan:
    start = dataclasses.replace(RECIPES["deeper"], train_epochs=epochs)
    fields = {
        "start": start,
        "held": (),
        "strategy": strategy,
        "objective": "val_macro_f1",
        "data": "of-tests",
        "full_epochs": 20,
    }
    return Plan(**fields | changes)


@pytest.fixture
def data(drawn) -> TuningData:
    return TuningData.of(drawn)


@pytest.fixture
def pretended(monkeypatch) -> list[dict]:
    """Let a trial's score be its dropout's distance to .2; return what was trained.

    Nothing is drawn, which would take longer than all the rest.
    """
    calls = []
    monkeypatch.setattr(plots, "draw", lambda *_: [])

    def run(recipe, epochs, data, folder, report, parent=None):
        calls.append({"recipe": recipe, "epochs": epochs, "folder": folder, "parent": parent})
        for epoch in range(1, epochs + 1):
            score = 1 - abs(recipe.model_dropout - 0.2) - 0.1 / epoch
            if not report(epoch, ROW | {"val_macro_f1": score}):
                return False
        return True

    monkeypatch.setattr(search, "run_trial", run)
    return calls


def table(folder: Path) -> list[dict]:
    with (folder / "tuning.csv").open() as file:
        return list(csv.DictReader(file))


# The space


def test_the_space_has_the_recipes_own_names_and_defaults():
    assert set(SPACE) <= {field.name for field in dataclasses.fields(Recipe)}
    for recipe in RECIPES.values():
        space = search_space(recipe)
        defaults = {entry.name: entry.default for entry in space.space}
        assert recipe_of(defaults, recipe) == dataclasses.replace(
            recipe, train_weight_decay=recipe.train_weight_decay or SPACE["train_weight_decay"].low
        )


def test_what_it_draws_is_a_recipe_within_its_ranges():
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("x", "max"), hyperparameters=search_space(RECIPES["deeper"])
    )
    for _ in range(50):
        values = oracle._random_values()
        recipe = recipe_of(values, RECIPES["deeper"])
        assert ("train_weight_decay" in values) == (recipe.train_optimizer != "adam")
        for name, domain in SPACE.items():
            value = getattr(recipe, name)
            if isinstance(domain, Range):
                low = min(domain.low, getattr(RECIPES["deeper"], name))
                assert low <= value <= domain.high
            else:
                assert value in domain


def test_a_field_that_is_held_is_not_searched():
    names = {e.name for e in search_space(RECIPES["deeper"], {"train_optimizer"}).space}
    assert not {"train_optimizer", "train_weight_decay"} & names
    names = {e.name for e in search_space(RECIPES["tiny"], {"train_optimizer"}).space}
    assert "train_weight_decay" in names


@pytest.mark.parametrize("name", RECIPES)
def test_width_and_depth_change_every_network(name):
    usual = parameter_count(build_model(RECIPES[name]))
    wide, deep = (
        parameter_count(build_model(override(RECIPES[name], change)))
        for change in ({"width": "1.25"}, {"depth": "1"})
    )
    assert wide > 1.2 * usual
    assert deep > 1.1 * usual


def test_a_card_without_width_and_depth_is_still_a_recipe():
    fields = dataclasses.asdict(RECIPES["deeper"])
    del fields["model_width"], fields["model_depth"]
    assert Recipe(**fields) == RECIPES["deeper"]


# The test split


def test_the_search_is_given_no_test_split(drawn):
    """What `tune` gets holds no pixel and no label of the test split."""
    given = TuningData.of(drawn)
    parts = [part for part in vars(given).values() if hasattr(part, "images")]
    assert [len(part) for part in parts] == [len(drawn.train), len(drawn.val)]
    for part in parts:
        for array in vars(part).values():
            assert not np.shares_memory(array, drawn.test.images)
            assert not np.shares_memory(array, drawn.test.labels)
    hints = search.tune.__annotations__ | search.join.__annotations__
    assert hints["data"] is TuningData


# A search, pretended


@pytest.mark.parametrize("strategy", ["hyperband", "bayesian", "random"])
def test_a_search_finds_better_settings(strategy, data, tmp_path, pretended):
    search.tune(plan(strategy), TRIALS, data, tmp_path)
    found = table(tmp_path)
    assert len(found) == TRIALS
    assert {row["status"] for row in found} == {"completed"}
    scores = [float(row["val_macro_f1"]) for row in found]
    assert scores == sorted(scores, reverse=True)
    first = next(row for row in found if int(row["trial"]) == 0)
    assert float(first["model_dropout"]) == RECIPES["deeper"].model_dropout
    assert scores[0] > float(first["val_macro_f1"])
    best = read_recipe(tmp_path / "recipe.json")
    assert best.train_epochs == 20
    assert best.model_dropout == float(found[0]["model_dropout"])
    with (tmp_path / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert len(history) == sum(int(row["epochs"]) for row in found)


def test_figures_are_drawn_of_any_mixture_of_trials(tmp_path):
    """Switches, words, numbers, a field that nobody changed, a weight decay of 0."""
    rng = np.random.default_rng(0)
    fields = {name: getattr(RECIPES["deeper"], name) for name in SPACE}
    found = [
        {"status": "completed", "epochs": 1 + k % 3, "val_macro_f1": rng.random()}
        | fields
        | {
            "model_dropout": rng.random(),
            "train_weight_decay": 0.01 * (k % 2),
            "augment_flip": k % 3 == 0,
            "train_optimizer": ("adam", "muon")[k % 2],
        }
        for k in range(8)
    ]
    for path in plots.draw([*found, {"status": "failed"}], plan(), tmp_path, synthetic=True):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.glob("*.png"))) == 2
    assert plots.draw(found[:3], plan(), tmp_path, synthetic=True) == []


def test_hyperband_continues_the_best_of_the_short_trials(data, tmp_path, pretended):
    search.tune(plan("hyperband", epochs=9), 14, data, tmp_path)
    assert pretended[0]["epochs"] == 9  # the starting recipe, to compare with
    short = [call for call in pretended[1:] if call["epochs"] == 1]
    longer = [call for call in pretended[1:] if call["parent"]]
    assert len(short) == 9
    ranked = sorted(short, key=lambda call: abs(call["recipe"].model_dropout - 0.2))
    assert {c["parent"] for c in longer if c["epochs"] == 3} == {c["folder"] for c in ranked[:3]}
    for call in longer:
        parent = next(c for c in pretended if c["folder"] == call["parent"])
        assert parent["recipe"] == call["recipe"]


def test_a_trial_that_fails_is_recorded_and_the_next_one_is_tried(
    data, tmp_path, pretended, monkeypatch
):
    good = search.run_trial

    class ResourceExhaustedError(Exception):
        pass

    def run(recipe, *rest, **options):
        if len(pretended) == 2:
            pretended.append({})
            raise ResourceExhaustedError("OOM when allocating tensor\nand much more")
        return good(recipe, *rest, **options)

    monkeypatch.setattr(search, "run_trial", run)
    search.tune(plan(), 5, data, tmp_path)
    found = {row["trial"]: row for row in table(tmp_path)}
    assert found["2"]["status"] == "failed"
    assert found["2"]["message"] == "out of memory: OOM when allocating tensor"
    assert [row["status"] for row in found.values()].count("completed") == 4


def test_a_search_in_which_everything_fails_ends(data, tmp_path, monkeypatch):
    def run(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr(search, "run_trial", run)
    with pytest.raises(BloodkerasError, match=r"last 10 trials failed.*ValueError: no"):
        search.tune(plan(), 30, data, tmp_path)


def test_a_full_disk_is_no_fault_of_the_trial(data, tmp_path, monkeypatch):
    def run(*_, **__):
        raise BloodkerasError("cannot write the checkpoint: No space left on device")

    monkeypatch.setattr(search, "run_trial", run)
    with pytest.raises(BloodkerasError, match="No space left"):
        search.tune(plan(), 5, data, tmp_path)


@pytest.mark.parametrize(
    ("strategy", "stopped_in"),
    [("random", 0), ("random", 7), ("hyperband", 3), ("hyperband", 6), ("bayesian", 5)],
)
def test_a_stopped_search_goes_on(strategy, stopped_in, data, tmp_path, pretended, monkeypatch):
    """Ctrl-C in the middle of a trial: that trial is run again, none is lost, none is run twice."""
    good = search.run_trial

    def run(recipe, epochs, data, folder, report, parent=None):
        if len(pretended) == stopped_in:
            report(1, ROW | {"val_macro_f1": 0.0})
            raise KeyboardInterrupt
        return good(recipe, epochs, data, folder, report, parent)

    monkeypatch.setattr(search, "run_trial", run)
    with pytest.raises(KeyboardInterrupt):
        search.tune(plan(strategy), TRIALS, data, tmp_path)
    monkeypatch.setattr(search, "run_trial", good)
    search.tune(plan(strategy), TRIALS, data, tmp_path)
    assert sorted(call["folder"] for call in pretended) == sorted(
        tmp_path / "trials" / row["trial"] for row in table(tmp_path)
    )
    assert len(pretended) == TRIALS
    assert {row["status"] for row in table(tmp_path)} == {"completed"}
    before = (tmp_path / STATE_FILE).read_bytes()
    search.tune(plan(strategy), TRIALS, data, tmp_path)  # nothing is left to do
    assert len(pretended) == TRIALS
    assert (
        json.loads(before)["trials"]
        == json.loads((tmp_path / STATE_FILE).read_text(encoding="utf-8"))["trials"]
    )


def test_a_trial_that_takes_its_process_with_it_is_given_up(data, tmp_path, pretended):
    """As the kernel does to who takes too much memory: no exception, no end_trial."""

    class Killed(BaseException):
        pass

    def run(*_, **__):
        raise Killed

    good, search.run_trial = search.run_trial, run
    for _ in range(3):
        with pytest.raises(Killed):
            search.tune(plan(), 4, data, tmp_path)
    search.run_trial = good
    search.tune(plan(), 4, data, tmp_path)
    found = {row["trial"]: row for row in table(tmp_path)}
    assert found["0"]["status"] == "failed"
    assert "3 times" in found["0"]["message"]
    assert [found[key]["status"] for key in "123"] == ["completed"] * 3


def test_the_budget_ends_a_search_that_goes_on_later(data, tmp_path, pretended):
    search.tune(plan(), 4, data, tmp_path, seconds=-1)
    assert pretended == []
    good = search.run_trial

    def slow(*rest, **options):
        time.sleep(0.3)
        return good(*rest, **options)

    search.run_trial = slow
    search.tune(plan(), 4, data, tmp_path, seconds=0.5)
    search.run_trial = good
    assert 1 <= len(pretended) < 4
    assert (tmp_path / "recipe.json").exists()
    search.tune(plan(), 4, data, tmp_path)
    assert {row["status"] for row in table(tmp_path)} == {"completed"}


def test_another_search_in_the_same_folder_is_refused(data, tmp_path, pretended):
    search.tune(plan(), 1, data, tmp_path)
    with pytest.raises(BloodkerasError, match=r"another strategy .*random, not bayesian"):
        search.tune(plan("bayesian"), 1, data, tmp_path)
    (tmp_path / STATE_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(BloodkerasError, match="not a search of this version"):
        search.tune(plan(), 1, data, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "hyperbnd"}, "'hyperband'"),
        ({"objective": "f1"}, "val_macro_f1"),
        ({"trials": 0}, "--trials must be above 0"),
        ({"worker": "a"}, "--chief HOST:PORT"),
        ({"settings": {"dropuot": "1"}}, "'dropout'"),
    ],
)
def test_wrong_options_are_told(changes, message):
    usual = {
        "model": "deeper",
        "trials": 5,
        "strategy": "random",
        "budget_minutes": 0,
        "epochs": 0,
        "objective": "val_macro_f1",
        "chief": "",
        "worker": "",
        "lost_after": 60,
        "settings": {},
    }
    assert check_options(**usual).plan.start.train_epochs == 5
    with pytest.raises(UsageError, match=message):
        check_options(**usual | changes)


# Real trainings


def small(**changes) -> Recipe:
    settings = {"epochs": "3", "batch_size": "100"}
    return override(RECIPES["simple"], settings | changes)


def test_a_trial_goes_on_where_it_stopped(data, tmp_path):
    """A trial in three parts, the last one in a child's folder, ends as one in one piece."""
    seen = {"whole": [], "parts": []}

    def report(name, most=9):
        def note(epoch, row):
            seen[name] = [*seen[name][: epoch - 1], row]
            return epoch < most

        return note

    recipe = small()
    assert run_trial(recipe, 3, data, tmp_path / "whole", report("whole"))
    assert not run_trial(recipe, 2, data, tmp_path / "a", report("parts", most=1))
    assert run_trial(recipe, 2, data, tmp_path / "a", report("parts"))
    assert run_trial(recipe, 3, data, tmp_path / "b", report("parts"), parent=tmp_path / "a")
    assert len(seen["parts"]) == 3
    for one, two in zip(seen["whole"], seen["parts"], strict=True):
        assert two == pytest.approx(one, abs=1e-4)
    assert trial.restore(build_model(recipe), small(dropout="0.1"), tmp_path / "b") == []


def test_a_loss_that_is_no_number_fails_the_trial(data, tmp_path):
    with pytest.raises(FloatingPointError, match="epoch 1"):
        run_trial(small(learning_rate="1e30"), 1, data, tmp_path, lambda *_: True)


def start(*words, log: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "bloodkeras", "tune", "simple", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with log.open("w", encoding="utf-8") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


def state(folder: Path) -> dict:
    try:
        return json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"oracle": {"ongoing_trials": {}}, "trials": []}


def wait_for(condition, seconds=120.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.slow
def test_a_killed_worker_neither_loses_nor_hangs_the_search(drawn_file, tmp_path):
    """A chief and two workers on loopback; one of them is killed in the middle of a trial."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    out, common = tmp_path / "search", ("--data", drawn_file, "--chief", address)
    settings = ("--trials", 4, "--strategy", "random", "--epochs", 2, "--lost-after", 8)
    chief = start(*common, *settings, "--out", out, log=tmp_path / "chief.log")
    workers = {
        name: start(
            *common, "--worker", name, "--out", tmp_path / name, log=tmp_path / f"{name}.log"
        )
        for name in ("a", "b")
    }
    try:
        wait_for(lambda: "a" in state(out)["oracle"]["ongoing_trials"])
        workers["a"].send_signal(signal.SIGKILL)
        lost = state(out)["oracle"]["ongoing_trials"]["a"]
        assert workers["b"].wait(300) == 0, (tmp_path / "b.log").read_text(encoding="utf-8")
        assert chief.wait(60) == 0, (tmp_path / "chief.log").read_text(encoding="utf-8")
    finally:
        for process in (chief, *workers.values()):
            process.kill()
            process.wait()
    assert "nothing heard of worker a" in (tmp_path / "chief.log").read_text(encoding="utf-8")
    found = {row["trial"]: row for row in table(out)}
    assert len(found) == 4
    assert {row["status"] for row in found.values()} == {"completed"}
    assert int(found[lost]["epochs"]) == 2
    assert read_recipe(out / "recipe.json").model_name == "simple"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.slow
def test_a_killed_search_goes_on(drawn_file, tmp_path):
    """SIGKILL after the first epoch of the second trial; the same command ends the search."""
    out = tmp_path / "search"
    words = (
        "--data",
        drawn_file,
        "--out",
        out,
        "--trials",
        3,
        "--strategy",
        "hyperband",
        "--epochs",
        3,
    )
    first = start(*words, log=tmp_path / "first.log")
    wait_for(lambda: len(state(out)["trials"]) == 2)
    first.kill()
    first.wait()
    assert len(state(out)["trials"]) == 2
    second = start(*words, log=tmp_path / "second.log")
    assert second.wait(300) == 0
    said = (tmp_path / "second.log").read_text(encoding="utf-8")
    assert "going on with the 2 trials" in said
    assert [row["status"] for row in table(out)] == ["completed"] * 3
    assert "--recipe" in said


def test_a_trial_is_judged_as_a_training_is(drawn, tmp_path):
    """By a network that balances, too, which has to know how sharp the training images are."""
    from bloodkeras.training.train import train

    words = {"balance": "true", "width": "0.25", "epochs": "1", "batch_size": "100"}
    recipe = override(RECIPES["residual"], words | {"precision": "float32"})
    rows: list[dict[str, float]] = []
    assert run_trial(
        recipe, 1, TuningData.of(drawn), tmp_path / "trial", lambda _, row: not rows.append(row)
    )
    history = (train(recipe, drawn, tmp_path / "run") / "history.csv").read_text(encoding="utf-8")
    trained = dict(zip(*(line.split(",") for line in history.splitlines()), strict=True))
    assert rows[0]["val_loss"] == pytest.approx(float(trained["val_loss"]), rel=1e-5)
