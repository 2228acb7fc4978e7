"""How long it takes is said: before a training, in it, and in every other long job."""

import dataclasses
import datetime
import io
import random
import re
import sys

import numpy as np
import pytest

import bloodkeras
from bloodkeras import progress
from bloodkeras.contract import SYNTHETIC_STAMP
from bloodkeras.data.splits import Split, Splits
from bloodkeras.progress import Line, Stages, about_when, told
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training import forecast
from bloodkeras.training.forecast import Forecast, guessed_seconds
from bloodkeras.training.models import build_model

NOW = datetime.datetime(2026, 3, 4, 12, 0).timestamp()  # noon: some minutes later is the same day


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    moved = {"by": 0.0}
    for module in (forecast, progress):
        monkeypatch.setattr(module.time, "monotonic", lambda: moved["by"])
        monkeypatch.setattr(module.time, "time", lambda: NOW + moved["by"])
    return moved


def time_of_day(seconds: float) -> str:
    """Return the time of day so many seconds after the clock's beginning."""
    return datetime.datetime.fromtimestamp(NOW + seconds).strftime("%H:%M")


def drive(watch: Forecast, clock, epochs: int, graph: float, step: float, val: float) -> None:
    """Call a Forecast as `fit` would: four steps an epoch, two of them at a time."""
    for epoch in range(epochs):
        watch.on_epoch_begin(epoch)
        for last in (1, 3):
            clock["by"] += 2 * step + (graph if epoch == 0 and last == 1 else 0)
            watch.on_train_batch_end(last, {"loss": 1.5, "accuracy": 0.25})
        clock["by"] += val
        logs = {"loss": 1.5, "accuracy": 0.25, "val_loss": 2.0, "val_accuracy": 0.5}
        watch.on_epoch_end(epoch, logs)


def test_a_line_when_steps_are_timed_then_one_an_epoch(clock, capsys):
    """The graph, which takes 50 s to build, is in no estimate."""
    watch = Forecast(bar=False)
    watch.set_params({"epochs": 3, "steps": 4})
    drive(watch, clock, 2, graph=50.0, step=30.0, val=0.0)
    first, *epochs = capsys.readouterr().err.splitlines()
    end = 50 + 3 * 120
    assert first == f"epoch 1 of 3, about 2 min each, done about {time_of_day(end)}"
    numbers = "accuracy 0.2500, loss 1.5000, val_accuracy 0.5000, val_loss 2.0000"
    assert epochs == [
        f"epoch 1 of 3: {numbers}, about 2 min each, done about {time_of_day(end)}",
        f"epoch 2 of 3: {numbers}, about 2 min each, done about {time_of_day(end)}",
    ]


def test_validation_counts_from_the_second_epoch_on(clock, capsys):
    watch = Forecast(bar=False)
    watch.set_params({"epochs": 5, "steps": 4})
    drive(watch, clock, 2, graph=50.0, step=30.0, val=120.0)
    assert "about 4 min each" in capsys.readouterr().err.splitlines()[-1]


def test_the_last_epoch_promises_nothing(clock, capsys):
    watch = Forecast("trial 7", bar=False)
    watch.set_params({"epochs": 1, "steps": 4})
    drive(watch, clock, 1, graph=0.0, step=0.1, val=0.1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("trial 7, epoch 1 of 1: accuracy 0.2500")
    assert "done" not in line


def test_a_training_that_may_end_early_is_done_at_the_latest(clock, capsys):
    watch = Forecast(patient=True, bar=False)
    watch.set_params({"epochs": 9, "steps": 4})
    drive(watch, clock, 1, graph=0.0, step=30.0, val=0.0)
    assert "done at the latest about" in capsys.readouterr().err


def test_a_bar_on_a_terminal_and_its_line_is_left_empty(clock, capsys):
    watch = Forecast(bar=True)
    watch.set_params({"epochs": 3, "steps": 4})
    drive(watch, clock, 1, graph=50.0, step=30.0, val=0.0)
    watch.close()
    shown = capsys.readouterr().err
    assert f"\r[{'#' * 30}] epoch 1 of 3, about 2 min each, done about" in shown
    assert "\r\x1b[Kepoch 1 of 3: accuracy" in shown
    assert shown.endswith("\r\x1b[K")


def test_whoever_listened_may_be_gone(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    for stream in (Gone(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        line = Line(bar=True)
        line.say("nobody hears this")
        line.draw("nor sees this", 0.5, 1.0)
        line.clear()


def test_when_is_a_span_a_time_or_a_day(clock):
    assert about_when(0.2) == "in about 1 s"
    assert about_when(42) == "in about 42 s"
    assert about_when(600) == f"about {time_of_day(600)}"
    day = r"about (Mon|Tue|Wed|Thu|Fri|Sat|Sun) "
    assert re.fullmatch(day + time_of_day(86_400), about_when(86_400))


def test_stages_say_when_all_is_done_once_one_is(clock, capsys):
    stages = Stages("export of tiny", {"first": 1.0, "second": 3.0, "third": 2.0})
    stages.begin("first")
    clock["by"] = 100.0
    stages.begin("second")
    clock["by"] = 400.0
    stages.begin("third")
    assert capsys.readouterr().err.splitlines() == [
        "export of tiny, 1 of 3: first",
        f"export of tiny, 2 of 3: second; all done about {time_of_day(600)}",
        f"export of tiny, 3 of 3: third; all done about {time_of_day(600)}",
    ]


def test_work_that_is_told_of_is_the_same_work(capsys):
    images = np.arange(10)
    found = told(lambda part: part * 2, images, at_once=4)
    assert [len(part) for part in found] == [4, 4, 2]
    assert np.array_equal(np.concatenate(found), images * 2)
    assert [len(part) for part in told(lambda part: part, images[:0])] == [0]
    assert capsys.readouterr().err == ""  # quicker than anybody waits for


def test_a_guess_leaves_everything_as_it_was(monkeypatch, drawn):
    """Weights, moving averages, dropout's random numbers, and those that come later."""
    monkeypatch.setattr(forecast, "WORTH_A_GUESS", 0)
    recipe = override(RECIPES["deeper"], {"batch_size": "16", "width": "0.25"})
    model = build_model(recipe)
    before = [np.array(variable.value.numpy()) for variable in model.variables]
    drawn_before = random.getstate(), np.random.get_state()
    assert guessed_seconds(model, recipe, drawn.train, drawn.val) > 0
    after = [np.array(variable.value.numpy()) for variable in model.variables]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))
    assert random.getstate() == drawn_before[0]
    assert np.array_equal(np.random.get_state()[1], drawn_before[1][1])


def test_a_study_with_a_network_that_is_over_in_seconds_says_when_the_other_is(
    monkeypatch, clock, drawn, tmp_path
):
    from bloodkeras.studies.study import Study

    study, recipes = Study(drawn, tmp_path), [RECIPES["tiny"], RECIPES["residual"]]
    seconds = {"tiny": 0.0, "residual": 4000.0}
    monkeypatch.setattr(forecast, "guessed_training", lambda recipe, *_: seconds[recipe.model_name])
    end = time_of_day(4000 * 1.25)
    expected = f"training, roughly: tiny seconds, residual 67 min; all steps done about {end}"
    assert study._foretold(recipes) == expected
    seconds["residual"] = 0.0
    assert study._foretold(recipes).startswith("a few minutes")


def first(splits: Splits, count: int) -> Splits:
    """Return splits of so many images each."""
    short = {n: Split(s.images[:count], s.labels[:count]) for n, s in splits.named().items()}
    return dataclasses.replace(splits, **short)


def test_a_guess_changes_no_bit_of_a_training(monkeypatch, drawn, tmp_path):
    from bloodkeras.training.train import train

    settings = {"epochs": "1", "batch_size": "24", "width": "0.25"}
    recipe, splits = override(RECIPES["simple"], settings), first(drawn, 48)
    for name, worth in (("with", 0.0), ("without", np.inf)):
        monkeypatch.setattr(forecast, "WORTH_A_GUESS", worth)
        train(recipe, splits, tmp_path / name)
    one, two = ((tmp_path / name / "model.keras").read_bytes() for name in ("with", "without"))
    assert one == two


def test_a_training_logs_what_it_does_and_prints_nothing(monkeypatch, drawn, tmp_path, capsys):
    monkeypatch.setattr(forecast, "WORTH_A_GUESS", 0)
    settings = {"epochs": "2", "batch_size": "24", "width": "0.25"}
    splits = dataclasses.replace(first(drawn, 48), synthetic=True)
    bloodkeras.train(override(RECIPES["simple"], settings), splits, runs=tmp_path)
    said = capsys.readouterr()
    assert said.out == ""
    stamp, begun, guess, *epochs, ended, plain = said.err.splitlines()
    assert stamp == f"bloodkeras: {SYNTHETIC_STAMP}"
    assert ended.startswith("simple: ")
    assert plain.startswith("in plain Keras: ")
    assert begun == "training simple in float32: 2 epochs of 2 steps of 24 images"
    assert re.match(r"roughly \d+ s an epoch, done in about \d+ s; ", guess)
    assert [line.split(":")[0] for line in epochs] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert all("val_accuracy" in line for line in epochs)
