"""Which file --size means, what it refuses, and where the results of another side lie."""

import hashlib
import json
import re
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bloodkeras import contract
from bloodkeras.__main__ import COMMANDS
from bloodkeras.bloodmnist import BLOODMNIST, MD5S, bloodmnist, runs_of
from bloodkeras.data import splits as data
from bloodkeras.data.download import DownloadError, cached_or_downloaded
from bloodkeras.data.splits import load_splits
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import draw_arrays

ROOT = Path(__file__).parents[2]
FEW = dict.fromkeys(contract.SPLIT_NAMES, 16)


def write(path: Path, side: int, **said) -> Path:
    np.savez(path, **draw_arrays(FEW, dataset=bloodmnist(side)), **said)
    return path


@pytest.fixture
def offline(monkeypatch):
    """No cached file, no network, few cells to draw; gives what a download would be of."""
    asked = []

    def fail(dataset=BLOODMNIST):
        asked.append(dataset)
        raise DownloadError("no network")

    monkeypatch.setattr(data, "cached_or_downloaded", fail)
    monkeypatch.setattr(data, "draw_arrays", partial(draw_arrays, FEW))
    return asked


# --- what is found and downloaded ----------------------------------------------------------------


@pytest.mark.parametrize("size", [0, *MD5S])
def test_medmnists_own_file_of_that_side_is_looked_for(offline, size):
    with pytest.raises(DownloadError):
        load_splits(size=size)
    (dataset,) = offline
    assert dataset == bloodmnist(size or 28)
    assert dataset.file_name == ("bloodmnist.npz" if size in (0, 28) else f"bloodmnist_{size}.npz")


@pytest.mark.parametrize("size", [64, 128, 224])
def test_a_cached_file_of_that_side_is_taken_if_it_is_medmnists(tmp_path, monkeypatch, size):
    monkeypatch.setattr(contract, "DATA_CACHE", str(tmp_path))
    path = write(tmp_path / f"bloodmnist_{size}.npz", size)
    with pytest.raises(BloodkerasError, match=f"bloodmnist_{size}.npz is not MedMNIST's file"):
        load_splits(size=size)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(MD5S, size, md5)
    assert cached_or_downloaded(bloodmnist(size)) == path
    splits = load_splits(size=size)
    assert splits.is_published()
    assert splits.dataset.image_shape == (size, size, 3)


def test_a_sentence_comes_before_128_and_224_alone(offline, capsys):
    for size in (28, 64):
        load_splits("auto", size)
        assert "GB" not in capsys.readouterr().err
    for size, said in (
        (128, "0.8 GB of memory .* 21 times as many pixels"),
        (224, "2.6 GB of memory .* 64 times as many pixels"),
    ):
        with pytest.raises(DownloadError):
            load_splits(size=size)
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert re.search(said, err)


# --- what a user names ---------------------------------------------------------------------------


def test_the_variable_may_name_one_of_several_and_an_option_means_one_file(tmp_path, monkeypatch):
    small, large = write(tmp_path / "cells.npz", 28), write(tmp_path / "cells_64.npz", 64)
    for named in (small, large):
        monkeypatch.setenv(contract.DATA_VARIABLE, str(named))
        assert load_splits().source == str(named)
        for size, path in ((28, small), (64, large)):
            assert load_splits(size=size).source == str(path)
            assert load_splits("auto", size).source == str(path)
    monkeypatch.delenv(contract.DATA_VARIABLE)
    assert load_splits(str(large), 64).dataset.image_side == 64
    with pytest.raises(BloodkerasError, match=r"cells.npz holds images of 28x28 .* expected 64x64"):
        load_splits(str(small), 64)


def test_a_named_file_of_the_right_side_is_never_replaced(tmp_path, monkeypatch):
    """A number at the end of a name need not be a side."""
    named = write(tmp_path / "cells_2024.npz", 28)
    write(tmp_path / "cells.npz", 28)
    monkeypatch.setenv(contract.DATA_VARIABLE, str(named))
    assert load_splits(size=28).source == str(named)


@pytest.mark.parametrize("folder", [".", "/", "~nobody-has-this-name/cells.npz"])
@pytest.mark.parametrize("size", [0, 64])
def test_what_is_no_file_is_one_line(folder, size):
    with pytest.raises(BloodkerasError, match="cannot read the data file"):
        load_splits(folder, size)


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_file_of_another_side_is_refused_never_replaced(
    offline, tmp_path, monkeypatch, by_variable
):
    path = write(tmp_path / "bloodmnist.npz", 28)
    if by_variable:
        monkeypatch.setenv(contract.DATA_VARIABLE, str(path))
    with pytest.raises(BloodkerasError) as refused:
        load_splits("auto" if by_variable else str(path), 64)
    said = str(refused.value)
    assert "holds images of 28x28 pixels, expected 64x64" in said
    assert "--data" in said
    assert (str(tmp_path / "bloodmnist_64.npz") in said) == by_variable
    assert "\n" not in said
    assert not offline


@pytest.mark.parametrize(
    ("named", "size"), [("", 50), ("auto", 27), ("synthetic", 15), ("", -64), ("synthetic", 513)]
)
def test_a_side_that_there_is_not_is_wrong_usage(offline, named, size):
    with pytest.raises(UsageError, match=f"--size is {size}: MedMNIST publishes 28, 64, 128, 224"):
        load_splits(named, size)
    assert not offline


@pytest.mark.parametrize("size", [0, 28, 40, 64, 128])
def test_cells_are_drawn_at_any_side(offline, size, capsys):
    COMMANDS["data"](data="synthetic", size=size)
    side = size or 28
    assert f"{side}x{side} RGB, 8 classes of BloodMNIST" in capsys.readouterr().out
    drawn = load_splits("synthetic", size)
    assert drawn.synthetic
    assert drawn.sha256 == load_splits("synthetic", size).sha256
    assert drawn.dataset == bloodmnist(side)


# --- where it goes -------------------------------------------------------------------------------


def test_results_of_each_side_lie_apart():
    runs = Path("runs")
    assert runs_of(runs, BLOODMNIST) == runs
    assert runs_of(runs, bloodmnist(64)) == runs / "64"
    assert runs_of(runs / "synthetic", bloodmnist(224)) == runs / "synthetic/224"
    assert runs_of(runs, DataSet("Mine", ("a", "b"), 64)) == runs  # whatever its side


def test_a_run_or_an_export_says_its_side(tmp_path, monkeypatch):
    """Without TensorFlow, and before the images are looked for."""
    from bloodkeras.studies.targets import data_for

    def run(name, **said):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / contract.RUN_DATA).write_text(json.dumps(said), encoding="utf-8")
        return str(folder)

    runs = str(tmp_path / "runs")
    large = run("64/tiny-seed42", dataset=bloodmnist(64).as_dict())
    mine = run("mine", dataset=DataSet("Mine", ("a", "b"), 40).as_dict())
    named = str(tmp_path / "named.npz")
    assert data_for([large], "", runs) == ("", 64)
    assert data_for([large], "synthetic", runs) == ("synthetic", 64)
    assert data_for(["deeper", large], "", runs) == ("", 28)  # published: there is no such run
    assert data_for([run("earlier")], "", runs) == ("", 28)  # it did not say
    assert data_for([mine], "", runs) == data_for([], "", runs) == ("", 0)
    assert data_for([large], named, runs) == (named, 0)
    monkeypatch.setenv(contract.DATA_VARIABLE, str(tmp_path / "bloodmnist.npz"))
    assert data_for([large], "", runs) == ("", 64)
    Path(large, contract.RUN_DATA).write_text("{", encoding="utf-8")
    with pytest.raises(BloodkerasError, match="is not a usable run"):
        data_for([large], "", runs)


def test_what_was_made_of_drawn_cells_is_judged_on_drawn_cells(tmp_path, monkeypatch):
    """Unless other data are named: BloodMNIST would be looked for, and downloaded, for nothing."""
    from bloodkeras.studies.targets import data_for

    run = tmp_path / "runs/synthetic/tiny-seed42"
    run.mkdir(parents=True)
    said = {"dataset": bloodmnist(64).as_dict(), "synthetic": True}
    (run / contract.RUN_DATA).write_text(json.dumps(said), encoding="utf-8")
    assert data_for([str(run)], "", str(tmp_path / "runs")) == ("synthetic", 64)
    assert data_for([str(run)], "auto", str(tmp_path / "runs")) == ("synthetic", 64)
    monkeypatch.setenv(contract.DATA_VARIABLE, str(tmp_path / "bloodmnist.npz"))
    assert data_for([str(run)], "", str(tmp_path / "runs")) == ("", 64)


def test_make_hands_the_size_on(tmp_path):
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()

    def said(*words):
        make = ["make", "-n", "-f", str(ROOT / "Makefile"), *words]
        # Where nothing was made yet: which exports are meant depends on what lies in runs/.
        done = subprocess.run(make, capture_output=True, text=True, cwd=tmp_path)
        return " ".join(done.stdout.splitlines()[-1].split()).split("bloodkeras ")[-1]

    assert said("all", "SIZE=64") == "study --data auto --size 64"
    for size, export in (("28", "runs/exports/deeper"), ("64", "runs/64/exports/deeper-64")):
        words = f"benchmark {export} --data auto --size {size}"
        assert said("benchmark", f"SIZE={size}") == words
    assert said("all") == "study --data auto"


@pytest.mark.slow
def test_a_run_and_an_export_find_the_images_of_their_side(tmp_path, monkeypatch, capsys):
    """Only `train` is told the size; what a run of 28 leaves beside it is never touched."""
    from bloodkeras.answers.classifier import Classifier
    from bloodkeras.evaluation.evaluate import load_report
    from bloodkeras.export import quantise

    monkeypatch.setattr(quantise, "MAX_FALL", 1.0)  # one epoch: int8 may say anything
    monkeypatch.setenv(contract.DATA_VARIABLE, str(write(tmp_path / "bloodmnist.npz", 28)))
    write(tmp_path / "bloodmnist_64.npz", 64)
    runs, there = tmp_path / "runs", {"runs": str(tmp_path / "runs")}
    small = {"epochs": "1", "batch_size": "16", "width": "0.25", "precision": "float32"}
    COMMANDS["train"]("tiny", **there, **small)
    COMMANDS["train"]("tiny", **there, **small, size=64)
    for side, place, name in ((28, runs, "tiny"), (64, runs / "64", "tiny-64")):
        run, export = str(place / "tiny-seed42"), str(place / "exports" / name)
        COMMANDS["evaluate"](run, **there)
        COMMANDS["export"](run, **there)
        COMMANDS["evaluate"](export, **there)
        COMMANDS["shifts"](export, **there)
        assert Classifier.load(export).dataset == bloodmnist(side)
        assert (place / "shifts.png").exists()
        assert (place / f"onnx-{name}/evaluation/shifts.json").exists()
        load_report(place / f"onnx-{name}/evaluation", "test")
    assert sorted(path.name for path in runs.iterdir() if path.is_dir()) == [
        "64",
        "exports",
        "onnx-tiny",
        "tiny-seed42",
    ]
    COMMANDS["evaluate"]("tiny", **there, size=64)
    assert "tiny (keras) on test" in capsys.readouterr().out
    with pytest.raises(BloodkerasError, match=r"28x28 .* and the data are .*64x64 .* or --size"):
        COMMANDS["evaluate"](str(runs / "tiny-seed42"), **there, size=64)
