"""Training that survives: killed at any moment and gone on with, it is what it would have been."""

import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("resource", reason="needs signals and limits that Windows lacks")
from killed import Process, Training, command_here, server

from bloodkeras.data.splits import read_npz
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.interrupts import heed_stops
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training import callbacks as keeper
from bloodkeras.training import train
from bloodkeras.training.checkpoint import (
    Checkpoint,
    newest_checkpoint,
    publish,
    read_checkpoint,
    save_checkpoint,
    written_plainly,
)
from bloodkeras.whole_file import replace_file

KILLS = 20
# Dropout, averaged weights, class weights, a schedule and augmentation: all that has a state.
# 17 steps an epoch, a prime: then a call of TensorFlow is one step, which is quickest to build.
SMALL = override(
    RECIPES["simple"],
    {
        "epochs": "3",
        "batch_size": "8",
        "ema": "0.9",
        "class_weights": "true",
        "turns": "true",
        "schedule": "cosine",
    },
)


@pytest.fixture(scope="module")
def few_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(path, **draw_arrays({"train": 136, "val": 48, "test": 48}))
    return path


@pytest.fixture(scope="module")
def few(few_file):
    return read_npz(few_file)


@pytest.fixture(scope="module")
def context():
    return server()


def assert_same_run(folder: Path, other: Path, why: str) -> None:
    """Compare all that a training leaves, bit for bit: also the state after the last epoch."""
    for name in ("history.csv", "model.keras", "recipe.json", "data.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), f"{name} {why}"
    one, two = (newest_checkpoint(run) for run in (folder, other))
    assert one.rows == two.rows, why
    assert one.best == two.best, why
    for name in ("model", "optimizer"):
        for a, b in zip(getattr(one, name), getattr(two, name), strict=True):
            assert a.dtype == b.dtype, why
            assert a.tobytes() == b.tobytes(), f"{name} {why}"
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "finished", (
        why
    )


def kill_and_resume(context, recipe, splits, folder: Path, moment) -> str:
    """Kill a training after so many seconds (float) or operations (int), then end it."""
    kill_at = moment if isinstance(moment, int) else 0
    training = Training(context, recipe, splits, folder, kill_at=kill_at)
    if kill_at:
        training.end()
    else:
        training.kill_after(moment)
    how = training.process.exitcode
    if how == 0:  # it was quicker than the clock; resuming would clear its checkpoints away
        return f"moment {moment!r} came after the end"
    there = sorted(path.name for path in (folder / "checkpoints").glob("epoch-*"))
    resumed = Training(context, recipe, splits, folder, resume=True)
    assert resumed.end() == 0, f"resumed after {moment!r}"
    return f"moment {moment!r}, exit {how}, checkpoints {there}"


def survive(context, recipe, splits, folder: Path, kills: int) -> list[str]:
    """Kill `kills` trainings at random moments; compare each with one that was not killed.

    Half of the moments are points in time, half are steps or operations on files: it is between
    those that a kill could do harm, and they last too short to be hit by the clock.
    """
    assert Training(context, recipe, splits, folder / "whole").end() == 0
    started = time.monotonic()
    again = Training(context, recipe, splits, folder / "again")
    assert again.end() == 0
    seconds, operations = time.monotonic() - started, again.events.value
    assert_same_run(folder / "again", folder / "whole", "of the same seed")
    moments = [
        random.uniform(0, seconds) if kill % 2 else random.randint(1, operations)
        for kill in range(kills)
    ]

    def run(kill):
        place = folder / f"kill-{kill:02}"
        return place, kill_and_resume(context, recipe, splits, place, moments[kill])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(run, range(kills)))
    for place, how in found:
        assert_same_run(place, folder / "whole", how)
    return [how for _, how in found]


def test_a_run_that_is_killed_anywhere_ends_as_one_that_is_not(context, few, tmp_path):
    found = survive(context, SMALL, few, tmp_path, KILLS)
    print("\n".join(found))
    assert sum(f"exit {-signal.SIGKILL}" in how for how in found) >= KILLS // 2  # really killed


def test_muon_and_bfloat16_survive_too(context, few, tmp_path):
    # Narrow: bfloat16 takes minutes where a processor has no instructions for it.
    settings = {
        "epochs": "2",
        "batch_size": "8",
        "optimizer": "muon",
        "label_smoothing": "0.1",
        "weight_decay": "0.1",
        "precision": "mixed_bfloat16",
        "width": "0.25",
    }
    survive(context, override(RECIPES["simple"], settings), few, tmp_path, 2)


@pytest.mark.slow
@pytest.mark.needs_data
@pytest.mark.skipif(
    "BLOODKERAS_SLOW" not in os.environ, reason="an hour: BLOODKERAS_SLOW=1 runs it"
)
@pytest.mark.parametrize("name", ["deeper", "tiny", "residual"])
def test_a_full_size_run_that_is_killed_ends_as_one_that_is_not(context, real_data, tmp_path, name):
    recipe = override(RECIPES[name], {"epochs": "3"})
    survive(context, recipe, read_npz(real_data), tmp_path, 3)


def a_checkpoint(epochs: int) -> Checkpoint:
    rows = [{"epoch": n, "loss": 1 / 3 + n, "val_accuracy": 0.1 * n} for n in range(epochs)]
    arrays = [np.array(7, np.int64), np.array([1, 2], np.uint32)]
    kernel = np.full((2, 3), epochs / 7, np.float32)
    return Checkpoint(rows, 1.5, [kernel, arrays[1]], arrays, b"model of %d" % epochs)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    state = a_checkpoint(3)
    save_checkpoint(tmp_path, state)
    back = newest_checkpoint(tmp_path)
    assert (back.rows, back.seconds, back.best) == (state.rows, state.seconds, state.best)
    pairs = zip(back.model + back.optimizer, state.model + state.optimizer, strict=True)
    assert all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def test_the_last_two_are_kept(tmp_path):
    for epochs in range(1, 5):
        save_checkpoint(tmp_path, a_checkpoint(epochs))
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == [
        "epoch-0003",
        "epoch-0004",
    ]


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "other"])
def test_a_damaged_newest_one_is_noticed_and_the_one_before_used(tmp_path, capsys, harm):
    for epochs in (1, 2):
        save_checkpoint(tmp_path, a_checkpoint(epochs))
    path = tmp_path / "checkpoints/epoch-0002"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    whole = path.read_bytes()
    harmed = {"flipped": bytes(content), "cut": whole[:-1], "empty": b"", "other": b"other\n"}
    path.write_bytes(harmed[harm])
    assert newest_checkpoint(tmp_path).epochs == 1
    said = capsys.readouterr().err
    assert "epoch-0002 is damaged" in said
    assert said.count("\n") == 1


def test_what_was_published_too_early_is_taken_back(tmp_path):
    publish(tmp_path, a_checkpoint(3))
    publish(tmp_path, a_checkpoint(2))
    assert (tmp_path / "model.keras").read_bytes() == b"model of 2"
    assert (tmp_path / "history.csv").read_text(encoding="utf-8").count("\n") == 3


def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, a_checkpoint(1))
    before = (tmp_path / "checkpoints/epoch-0001").read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(BloodkerasError, match=r"No space left.*epoch-0001 is whole.*--resume"),
        written_plainly(tmp_path),
    ):
        save_checkpoint(tmp_path, a_checkpoint(2))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["epoch-0001"]
    assert (tmp_path / "checkpoints/epoch-0001").read_bytes() == before


def test_a_file_that_may_not_grow_is_as_a_full_disk(tmp_path):
    replace_file(tmp_path / "kept", b"before")
    code = (
        "import resource, sys, pathlib\n"
        "from bloodkeras.whole_file import replace_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: replace_file(pathlib.Path(sys.argv[1]), bytes(2000))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "File too large\n", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_bytes() == b"before"


def begun(folder: Path, recipe, splits) -> dict:
    from bloodkeras.training.run_folder import begin_run, conditions

    info = {"status": "running"} | conditions(True)
    begin_run(folder, recipe, splits, info)
    return info


def test_a_run_of_another_recipe_or_other_data_is_refused(tmp_path, few, drawn):
    from bloodkeras.training.run_folder import take_up
    from bloodkeras.training.train import train

    info = begun(tmp_path / "run", SMALL, few)
    with pytest.raises(BloodkerasError, match="--epochs 3, not 4"):
        train(dataclasses.replace(SMALL, train_epochs=4), few, tmp_path / "run", resume=True)
    with pytest.raises(BloodkerasError, match="other data"):
        take_up(tmp_path / "run", SMALL, drawn, info)
    with pytest.raises(BloodkerasError, match="is not a run"):
        train(SMALL, few, tmp_path, resume=True)


def test_other_conditions_are_said(tmp_path, few, capsys):
    from bloodkeras.training.run_folder import take_up

    info = begun(tmp_path / "run", SMALL, few)
    assert take_up(tmp_path / "run", SMALL, few, info) is None
    assert "bloodkeras: " not in capsys.readouterr().err
    other = info | {"device": "1 GPU", "versions": info["versions"] | {"keras": "4"}}
    take_up(tmp_path / "run", SMALL, few, other)
    said = capsys.readouterr().err
    assert "1 GPU" in said
    assert "keras" in said


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, few):
    from bloodkeras.training.train import train

    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(BloodkerasError, match=r"cannot write.*Not a directory"):
        train(SMALL, few, tmp_path / "file" / "run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path, few):
    from bloodkeras.training.train import train

    tmp_path.chmod(0o500)
    with pytest.raises(BloodkerasError, match=r"cannot write.*Permission denied"):
        train(SMALL, few, tmp_path / "run")


def test_a_folder_that_vanishes_is_one_line(tmp_path):
    with pytest.raises(BloodkerasError, match="No such file"), written_plainly(tmp_path / "gone"):
        save_checkpoint(tmp_path / "gone", a_checkpoint(1))


def test_a_bad_loss_names_its_batch(tmp_path, few):
    """The first step at this rate spoils the weights: the second's loss is not a number."""
    from bloodkeras.training.pipeline import batch_rows, train_dataset
    from bloodkeras.training.train import train

    recipe = override(RECIPES["simple"], {"batch_size": "10", "learning_rate": "1e30"})
    with pytest.raises(BloodkerasError) as caught:
        train(recipe, few, tmp_path / "run")
    images = list(train_dataset(few.train, recipe).take(2).as_numpy_iterator())[1][0]
    rows = batch_rows(few.train, recipe, 0, 1)
    assert np.array_equal(few.train.images[rows], images)  # not augmented
    message = str(caught.value)
    assert f"step 2 of 14, rows {', '.join(map(str, rows))} of the training split" in message
    assert "lower --learning-rate" in message
    assert json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))["status"] == "failed"


def test_patience_ends_a_run_that_gets_no_better(tmp_path, few, capsys):
    from bloodkeras.training.run_folder import load_run
    from bloodkeras.training.train import train

    settings = {"epochs": "9", "batch_size": "8", "learning_rate": "1e-12", "patience": "1"}
    recipe = override(RECIPES["simple"], settings)
    run = load_run(train(recipe, few, tmp_path / "run"))
    assert len(run.history["loss"]) == 2
    assert run.info["status"] == "finished"
    assert not (tmp_path / "run/checkpoints").exists()
    assert "stopped early" in capsys.readouterr().err
    train(recipe, few, tmp_path / "run", resume=True)
    assert "finished already" in capsys.readouterr().err


def test_patience_counts_from_the_best_epoch():
    from bloodkeras.training.callbacks import is_complete

    recipe = override(RECIPES["simple"], {"patience": "2"})

    def complete(*values):
        return is_complete([{"val_accuracy": value} for value in values], recipe)

    assert not complete(0.1, 0.3, 0.2)
    assert complete(0.1, 0.3, 0.2, 0.3)
    assert not complete(0.1, 0.3, 0.2, 0.4)


def test_several_seeds_give_a_table_of_validation_numbers(tmp_path, few, monkeypatch, capsys):
    from bloodkeras.studies.study import Study
    from bloodkeras.training.run_folder import Run

    asked = []

    def train(self, recipe, out=None, **options):
        asked.append((recipe.train_seed, options))
        best = {42: 0.5, 43: 0.7}[recipe.train_seed]
        history = {"epoch": [0, 1, 2], "val_accuracy": [0.1, best, 0.2], "val_loss": [3, best, 2]}
        columns = {name: np.array(values) for name, values in history.items()}
        return Run(tmp_path, recipe, columns, {}, {})

    monkeypatch.setattr(Study, "train", train)
    Study(few, str(tmp_path)).train_seeds(SMALL, [42, 43], resume=True)
    assert asked == [(42, {"resume": True}), (43, {"resume": True})]
    lines = capsys.readouterr().out.splitlines()
    (accuracy,) = (line.split() for line in lines if line.startswith("val_accuracy"))
    assert accuracy[1:] == ["0.5000", "0.7000", "0.6000", "0.1414"]
    (loss,) = (line.split() for line in lines if line.startswith("val_loss"))
    assert loss[1:3] == ["0.5000", "0.7000"]  # of the best epoch, not the lowest
    assert (tmp_path / "simple-seeds-val.txt").read_text(encoding="utf-8").splitlines() == lines


def wait_for(path: Path, process) -> None:
    while not path.exists() and process.exitcode is None:
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGINT, 130, "stopped by Ctrl-C"), (signal.SIGTERM, 1, "stopped by SIGTERM")],
)
def test_a_stopped_command_says_one_line_and_loses_nothing(
    context, few_file, tmp_path, number, status, words
):
    """Stopped after an epoch, then refused a vanished file and a full disk: all can be resumed."""
    folder, errors = tmp_path / "run", tmp_path / "errors"
    command = ["-q", "train", "simple", "--epochs", "99", "--batch-size", "8", "--out", str(folder)]
    data = ["--data", str(few_file)]

    def outcome(words, largest_file=0, stop=False):
        started = Process(context, command_here, words, errors, largest_file)
        if stop:
            wait_for(folder / "checkpoints/epoch-0001", started.process)
            os.kill(started.process.pid, number)
        code = started.end()
        lines = errors.read_text(encoding="utf-8").splitlines()
        assert len(lines) == 1, (code, lines)
        return code, lines[0]

    code, line = outcome([*command, *data], stop=True)
    assert code == status
    assert words in line
    assert "--resume goes on" in line
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
    kept = newest_checkpoint(folder).epochs
    assert kept >= 1
    if number == signal.SIGTERM:
        return
    code, line = outcome([*command, "--data", str(tmp_path / "gone.npz"), "--resume"])
    assert (code, "cannot read the data file" in line) == (1, True)
    code, line = outcome([*command, *data, "--resume"], largest_file=100_000)
    assert (code, "cannot write the run folder" in line) == (1, True)
    assert newest_checkpoint(folder).epochs == kept
    assert read_checkpoint(folder / f"checkpoints/epoch-{kept:04}").epochs == kept
    assert not list(folder.rglob(".writing-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_c_code_swallows_ends_the_training_all_the_same(few, tmp_path, number):
    """NumPy clears every error of a __len__ that it calls; so would a stop be that comes then."""

    class Stopped:
        def __len__(self):
            os.kill(os.getpid(), number)
            return 1  # the handler has run, and raised, before this line

        def __getitem__(self, index):  # without it NumPy would not take it for a sequence
            raise IndexError

    class Stopping(keeper.LossGuard):
        def on_train_batch_end(self, batch, logs=None):
            np.asarray(Stopped())
            super().on_train_batch_end(batch, logs)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heed_stops()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train, "LossGuard", Stopping)
            with pytest.raises(KeyboardInterrupt, match="in its first epoch"):
                train.train(SMALL, few, tmp_path / "run")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (
        json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))["status"]
        == "interrupted"
    )


def test_a_gpu_that_is_not_there_is_one_line():
    import tensorflow as tf

    from bloodkeras.training.device import choose_device

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is one")
    with pytest.raises(BloodkerasError, match="TensorFlow sees no GPU"):
        choose_device("gpu")
