"""A name is the published export, everywhere; one's own is called by its folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_export import build_export

import bloodkeras
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.exports import (
    DEFAULTS,
    LARGER,
    PHOTOGRAPHS,
    SMALL,
    find_export,
    is_export,
    published,
    results_name,
)
from bloodkeras.answers.predict import SIDES, kind_of_images
from bloodkeras.errors import BloodkerasError

ROOT = Path(__file__).parents[2]
NAMES = ["deeper", "residual", "residual-64", "robust-64", "simple", "tiny"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The current folder, with a cell in it and nothing else."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (28, 28), "white").save("cell.png")
    return tmp_path


def command(*words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bloodkeras", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_the_committed_exports_are_published():
    assert list(published()) == NAMES
    assert {folder.parent for folder in published().values()} == {ROOT / "exports"}
    assert all(is_export(folder) for folder in published().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_known_in_any_folder(elsewhere, name):
    assert find_export(name) == ROOT / "exports" / name
    assert bloodkeras.load(name).card["model"] == name


def test_loading_by_name_and_by_folder_is_the_same(elsewhere):
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), np.uint8)
    by_name = bloodkeras.load("tiny").predict_proba(images)
    assert np.array_equal(by_name, Classifier.load("tiny").predict_proba(images))
    assert np.array_equal(by_name, Classifier.load(ROOT / "exports/tiny").predict_proba(images))


@pytest.mark.parametrize("place", ["runs/exports", "exports", "."])
def test_the_published_one_wins_over_ones_own_and_it_is_said(elsewhere, capsys, place):
    own = build_export(elsewhere / place / "tiny")
    assert find_export("tiny") == ROOT / "exports/tiny"
    assert f"tiny is the published {ROOT / 'exports/tiny'}; your own one is {place}/tiny" in (
        capsys.readouterr().err
    )
    assert find_export(f"{place}/tiny").resolve() == own.resolve()
    assert find_export(str(own)) == own
    assert capsys.readouterr().err == ""


def test_the_command_says_it_too_and_which_is_the_default(elsewhere):
    build_export(elsewhere / "runs/exports/residual")
    named = command("predict", "cell.png", "--model", "residual")
    assert "your own one is runs/exports/residual" in named.stderr
    usual = command("predict", "cell.png")
    said = "residual answers, the published export for images of 28 pixels; --model takes another"
    assert usual.stderr == f"{said}\n"
    assert usual.stdout == named.stdout
    own = command("predict", "cell.png", "--model", "runs/exports/residual")
    assert own.stderr == ""
    assert own.stdout != named.stdout


def test_ones_own_in_the_current_folder_is_called_with_a_point(elsewhere):
    """`./tiny` is never shortened to `tiny`, which would be the published one."""
    build_export(elsewhere / "tiny")
    published_one, own = (
        command("predict", "cell.png", "--format", "csv", "--model", word)
        for word in ("tiny", "./tiny")
    )
    assert own.returncode == 0, own.stderr
    assert own.stderr == ""
    assert own.stdout != published_one.stdout


def test_the_committed_folder_itself_is_nobodys_own(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert find_export("tiny") == ROOT / "exports/tiny"
    assert "your own one is exports/tiny" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["runs/exports", "exports"])
def test_a_name_that_is_not_published_is_ones_own(elsewhere, place):
    build_export(elsewhere / place / "mine")
    assert find_export("mine") == elsewhere / place / "mine"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("residul", "residual"),
        ("exports/tiny", "tiny"),
        ("no/where/robsut", "robust-64"),
        ("x", ""),
    ],
)
def test_a_wrong_word_is_refused_never_replaced(elsewhere, word, meant):
    with pytest.raises(BloodkerasError) as refused:
        find_export(word)
    assert str(refused.value).startswith(f"there is no export {word}: ")
    assert ", ".join(NAMES) in str(refused.value)
    assert (f"did you mean {meant}?" in str(refused.value)) == bool(meant)


def test_an_empty_word_is_no_name(elsewhere):
    with pytest.raises(BloodkerasError, match="is not a complete export"):
        bloodkeras.load("")
    done = command("serve", "--model", "a=", "--port", "0")
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1


def test_what_is_public_comes_lazily():
    code = (
        "import sys, bloodkeras\n"
        "assert not {'numpy', 'onnxruntime', 'PIL'} & set(sys.modules)\n"
        "from bloodkeras import *\n"
        "assert {'Classifier', 'load'} <= set(dir(bloodkeras))\n"
        "print(Classifier.__name__, load('tiny').card['model'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "Classifier tiny\n", done.stderr
    with pytest.raises(AttributeError, match="lod"):
        bloodkeras.lod  # noqa: B018


# --- where none is named, it depends on the images ----------------------------------------------


def test_what_answers_by_default_is_published_for_its_kind():
    assert all(bloodkeras.load(DEFAULTS[k]).dataset.image_side == s for s, k in SIDES.items())
    assert set(DEFAULTS.values()) <= set(published())
    assert bloodkeras.load().card["model"] == DEFAULTS[PHOTOGRAPHS]


def draw(path, side, kind="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(kind, (side, side), "white").save(path)


def test_one_photograph_among_small_images_makes_all_of_them_photographs(elsewhere):
    for name in ("a.png", "b.bmp", "below/c.jpg"):
        draw(elsewhere / "small" / name, 28)
    assert kind_of_images(["small"]) == kind_of_images(["small/*.png", "cell.png"]) == SMALL
    (elsewhere / "small/broken.png").write_bytes(b"")  # says nothing of the others
    assert kind_of_images(["small"]) == SMALL
    draw(elsewhere / "small/below/z.tif", 360, "L")
    assert kind_of_images(["small"]) == kind_of_images(["cell.png", "small"]) == PHOTOGRAPHS
    assert kind_of_images(["cell.png"]) == SMALL


@pytest.mark.parametrize("side", [27, 29, 63, 360])
def test_any_other_side_is_a_photographs(elsewhere, side):
    draw(elsewhere / "other.png", side)
    assert kind_of_images(["other.png"]) == PHOTOGRAPHS


def test_arrays_are_small_by_their_shape_and_a_list_is_of_photographs(elsewhere):
    pixels = np.zeros((3, 28, 28, 3), np.uint8)
    np.save("small.npy", pixels)
    np.savez("small.npz", images=pixels, labels=np.zeros(3, np.uint8))
    np.save("large.npy", np.zeros((3, 64, 64, 3), np.uint8))
    np.save("floats.npy", np.zeros((3, 28, 28, 3)))
    assert kind_of_images(["small.npy", "small.npz", "cell.png"]) == SMALL
    assert kind_of_images(["large.npy"]) == LARGER
    assert kind_of_images(["large.npy", "small.npy"]) == PHOTOGRAPHS
    assert kind_of_images(["floats.npy"]) == PHOTOGRAPHS
    assert kind_of_images(["-"]) == kind_of_images(["cell.png", "-"]) == PHOTOGRAPHS


@pytest.mark.parametrize(("side", "kind"), [(28, SMALL), (64, LARGER), (360, PHOTOGRAPHS)])
def test_predict_and_score_take_the_same_one_and_say_so(elsewhere, side, kind):
    pytest.importorskip("pyarrow")
    draw(elsewhere / "cells/a.png", side)
    said = f"{DEFAULTS[kind]} answers, the published export for {kind}"
    done = command("predict", "cells", "--out", "answers.csv")
    assert said in done.stderr
    origin = json.loads(Path("answers.csv.origin.json").read_text(encoding="utf-8"))
    assert origin["model"] == DEFAULTS[kind]
    done = command("score", "cells", "--out", "scored")
    assert said in done.stderr
    plan = json.loads(Path("scored/_plan/plan.json").read_text(encoding="utf-8"))
    assert plan["model"] == DEFAULTS[kind]


def test_score_of_raw_pixels_is_of_small_images(elsewhere):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    def write(name, values, kind):
        parquet.write_table(pyarrow.table({"image": pyarrow.array(values, kind)}), name)

    write("raw.parquet", [bytes(28 * 28 * 3)], pyarrow.binary(28 * 28 * 3))
    write("larger.parquet", [bytes(64 * 64 * 3)], pyarrow.binary(64 * 64 * 3))
    write("files.parquet", [Path("cell.png").read_bytes()], pyarrow.binary())
    for source, kind in (("raw", SMALL), ("larger", LARGER), ("files", PHOTOGRAPHS)):
        done = command("score", f"{source}.parquet", "--out", f"{source}-scored")
        assert f"{DEFAULTS[kind]} answers" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "words", [["gone.png"], ["cell.png", "--classes", "red"], ["cell.png", "--out", "x/y.csv"]]
)
def test_what_is_refused_is_refused_in_one_line(elsewhere, words):
    done = command("predict", *words)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1


# --- what is trained never replaces what is published -------------------------------------------


def test_a_study_publishes_among_its_runs(drawn, elsewhere, capsys):
    import dataclasses

    from bloodkeras.studies.study import Study

    assert Study(drawn, "mine").exports == Path("mine/exports")
    assert Study(drawn).exports == Path("runs/exports")
    assert Study(drawn, "runs", "there").exports == Path("there")
    synthetic = dataclasses.replace(drawn, synthetic=True)
    assert Study(synthetic).exports == Path("runs/synthetic/exports")


def test_results_of_the_published_and_ones_own_lie_apart(elsewhere):
    from bloodkeras.studies.targets import Places

    places = Places(Path("runs"), Path("runs/exports"))
    build_export(elsewhere / "runs/exports/tiny")
    own, *_ = places.open("runs/exports/tiny")
    theirs, name, engine, *_ = places.open(str(ROOT / "exports/tiny"))
    assert own == Path("runs/onnx-tiny")
    assert (theirs, name, engine) == (Path("runs/onnx-published-tiny"), "tiny", "onnx")
    assert results_name("runs/exports/tiny", "tiny") == "onnx-tiny"


@pytest.mark.parametrize("name", ["tiny", "robust"])
def test_a_model_name_means_its_run_also_among_exports(elsewhere, monkeypatch, name):
    """In runs/exports a folder has the model's name; ./tiny is how to mean that."""
    from bloodkeras.studies.targets import Places, means_export

    build_export(elsewhere / name)
    places = Places(Path("runs"), Path("runs/exports"))
    assert not means_export(name)
    assert means_export(f"./{name}")
    assert places.open(f"./{name}").folder == Path("runs/onnx-tiny")  # the card's name
    with pytest.raises(BloodkerasError, match=f"{name}-seed.* is not a usable run"):
        places.open(name)
    with pytest.raises(BloodkerasError, match=f"{name}-seed"):
        places.report_of(name)


def test_evaluate_of_a_name_without_a_run_judges_the_published_one_and_says_so(
    drawn, elsewhere, capsys
):
    from bloodkeras.studies.study import Study

    Study(drawn).evaluate("tiny", "val")
    said = capsys.readouterr()
    assert "tiny has no run in runs: the published export is meant\n" in said.err
    assert "tiny (onnx) on val, 120 images" in said.out
    report = json.loads(
        Path("runs/onnx-published-tiny/evaluation/val.json").read_text(encoding="utf-8")
    )
    assert report["engine"] == "onnx"


def test_what_is_for_exports_alone_says_which_folder_is_meant(elsewhere):
    done = command("evaluate", "simple", "--margins", ".")
    assert done.returncode == 2
    assert f"simple is none: its export is {ROOT / 'exports/simple'}" in done.stderr
