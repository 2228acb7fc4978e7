"""The command line as a user meets it: quick, typed, and one line when something is wrong."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bloodkeras import __version__
from bloodkeras.__main__ import COMMANDS
from bloodkeras.cli.options import Asking, parameters
from bloodkeras.recipe import settings, short

ROOT = Path(__file__).parents[2]


def bloodkeras(*words, cwd=None, code="") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bloodkeras", *map(str, words)]
    if code:
        start = f"import sys; sys.argv[1:] = {[str(w) for w in words]!r}\n"
        run = "from bloodkeras.__main__ import main\ntry: main()\nfinally:\n "
        command = [sys.executable, "-c", start + run + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def cell(tmp_path):
    Image.new("RGB", (28, 28), "white").save(tmp_path / "cell.png")
    return tmp_path / "cell.png"


def test_help_names_every_command():
    text = bloodkeras("--help").stdout
    for command in ("data", "eda", "train", "evaluate", "export", "predict", "report", "study"):
        assert f"\n     {command}\n" in text


SLOW = ("tensorflow", "keras", "matplotlib", "scipy", "sklearn", "pandas", "onnx", "pyarrow", "ray")
RUNTIME = ("numpy", "onnxruntime", "PIL")


@pytest.mark.parametrize(
    ("words", "slow"),
    [
        (["--help"], SLOW + RUNTIME),
        (["--version"], SLOW + RUNTIME),
        (["train", "deepest"], SLOW + RUNTIME),
        (["predict", "{cell}"], SLOW),
    ],
)
def test_it_is_quick_because_nothing_slow_is_imported(words, slow, cell):
    words = [word.format(cell=cell) for word in words]
    done = bloodkeras(*words, code=f"print([m for m in {slow!r} if m in sys.modules])")
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "'train'"),
        (["evaluate", "simple", "--splt", "val"], "'split'"),
        (["predict", ".", "--resum"], "'resume'"),
        (["train", "simple", "--epochs", "0"], "--epochs must be above 0"),
        (["train", "simple", "--train_epochs", "0"], "--train-epochs must be above 0"),
        (["train"], "train needs MODEL"),
        (["predict", ".", "-o"], "--out needs a value"),
        (["predict", ".", "--prior="], "--prior needs a value"),
        (["predict", ".", "--prior", ""], "--prior needs a value"),
        (["predict", ".", "--out", "a.csv", "-o", "b.csv"], "--out is given twice"),
        (["evaluate", "--views"], "missing: TARGET"),
        (["evaluate", "exports/tiny", "more"], "does not take 'more'"),
        (["score", "a", "-o", "b", "c"], "does not take 'c'"),
        (["data", "drawn.npz"], "does not take 'drawn.npz'"),
        (
            ["predict", ".", "-m", "residual"],
            "-m is not an option: expected one of --microns-per-",
        ),
        (["predict", ".", "--noout"], "unknown option --noout"),
        (["train", "simple", "--noout"], "unknown option --noout"),
        (["evaluate", "nothing"], "'nothing' is neither"),  # and no download before it is said
        (["train", "tiny", "--teacher", "nothing"], "'nothing' is neither"),
        (["seeds", "tiny", "--teacher", "nothing"], "'nothing' is neither"),
        (["seeds", "tiny", "--teacher", ","], "--teacher , names no run"),
        (["train", "tiny", "--teacher", "tiny,nothing"], "'nothing' is neither"),
        (["train", "tiny", "--teacher-share", "0.5"], "--teacher-share needs teachers"),
        (["train", "tiny", "--teacher-share", "2"], "a share, 0 <= x <= 1"),
        (["train", "tiny", "--teacher-data", "x.npz"], "--teacher-data is for --teacher"),
        (["study", "tiny", "--teacher-share", "0.5"], "--teacher-share needs teachers"),
        (["seeds", "tiny", "--teacher-share", "0.5"], "--teacher-share needs teachers"),
        (["held-out", "tiny", "--teacher-share", "1"], "--teacher-share needs teachers"),
        (["tune", "tiny", "--teacher-share", "0.5"], "--teacher-share needs teachers"),
        (["export", "nothing"], "'nothing' is neither"),
        (["export", "--photograph"], "--photograph needs an export"),
        (["evaluate", "simple", "--margins", "."], "simple is none"),
        (["evaluate", "simple", "--shifts", "--views"], "`bloodkeras shifts EXPORT`"),
        (["evaluate", "simple", "--photos", "."], "`bloodkeras judge EXPORT --photos FOLDER`"),
        (
            ["evaluate", "simple", "--photos=.", "--labels", "x.csv"],
            "`bloodkeras judge EXPORT --photos FOLDER`",
        ),
        (["evaluate", "simple", "--tightness", "1.4"], "`bloodkeras judge EXPORT --photos FOLDER`"),
        (["judge", "tiny", "--labels", "x.csv"], "missing: --photos"),
        (["predcit", "."], "unknown command 'predcit': did you mean 'predict'?"),
        (["xyz"], "unknown command 'xyz': expected one of: agree, benchmark"),
        (["predict", ".", "--micron-per-pixel", "1"], "did you mean 'microns-per-pixel'?"),
        (["predict", ".", "--sort_into", "a", "--sort-into", "b"], "--sort-into is given twice"),
        (["predict", ".", "-q", "--prior"], "--prior needs a value"),
        (["train", "simple", "--class_weights", "perhaps"], "--class-weights takes true or false"),
        (["train", "simple", "--noise"], "--noise needs a value"),
        (["train", "simple", "--epochs", "3", "--train-epochs", "4"], "is given twice"),
        (["train", "simple", "--otu", "run"], "did you mean 'out'?"),
        (["tune", "simple", "--strategy", "bayes"], "did you mean 'bayesian'?"),
        (["predict", "--views", "."], "--views takes true or false, not '.'"),
        (["train", "deepest"], "'deeper'"),
        (["train", "deeper", "--epohcs", "3"], "'epochs'"),
        (["train", "deeper", "--epochs", "many"], "whole number"),
        (["train", "deeper", "--tensorboard", "perhaps"], "true or false"),
        (["evaluate", "simple", "--splitt", "val"], "splitt"),
        (["predict"], "at least one"),
        (["predict", ".", "--out", "x.csv", "--resume", "perhaps"], "true or false"),
        (["predict", ".", "--resume"], "--out"),
        (["predict", ".", "--out", "answers.doc"], "--format"),
        (["predict", ".", "--formt", "csv"], "formt"),
        (["seeds", "simple", "--seeds", "1,x"], "whole number"),
        (["train", "simple", "--seeds", "1,x"], "whole number"),
        (["train", "simple", "--seeds", "1,2", "--out", "run"], "--seeds makes a folder"),
        (["train", "simple", "--device", "tpu"], "one of auto, cpu, gpu"),
        (["train", "simple", "--patience", "-1"], "--patience must be 0 or more"),
        (["compare", "run"], "two runs"),
        (["predict", ".", "--report"], "--report needs a value"),
        (["train", "simple", "--data", "--resume"], "--data needs a value"),
        (["calibrate", "exports/tiny", "--photos", "a", "--labels", "b"], "missing: --out"),
    ],
)
def test_wrong_usage_is_exit_status_2(words, message, tmp_path):
    done = bloodkeras(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1  # and not fire's page of usage
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux'")
@pytest.mark.parametrize(
    "words", [["data", "--data", "synthetic"], ["predict", "CELL", "--model", "tiny"]]
)
def test_output_that_cannot_be_written_is_one_line(words, cell):
    words = [word.replace("CELL", str(cell)) for word in words]
    command = [sys.executable, "-m", "bloodkeras", *words]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "bloodkeras: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")  # as after `| head`


def bad_npz(folder: Path, kind: str) -> Path:
    path = folder / "bad.npz"
    if kind == "truncated":
        path.write_bytes(b"PK\x03\x04 and then nothing")
    if kind == "pickled":
        np.savez(path, train_images=np.array([{}], dtype=object))
    if kind == "keys":
        np.savez(path, images=np.zeros(3))
    return path


@pytest.mark.parametrize("kind", ["missing", "truncated", "pickled", "keys"])
def test_bad_data_is_one_line_and_exit_status_1(kind, tmp_path):
    done = bloodkeras("data", "--data", bad_npz(tmp_path, kind), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("bloodkeras: ")
    assert done.stderr.count("\n") == 1
    assert "bad.npz" in done.stderr


def test_failures_of_predict_are_one_line_and_exit_status_1(tmp_path, cell):
    (tmp_path / "empty").mkdir()
    for words in (
        ["predict", "none.png"],
        ["predict", tmp_path / "empty"],
        ["predict", cell, "--model", tmp_path],
        ["predict", cell, "--model", "deepest"],
        ["predict", cell, "--model", ROOT / "exports/deeper", "--out", tmp_path / "no" / "x.csv"],
    ):
        done = bloodkeras(*words, cwd=tmp_path)
        assert done.returncode == 1, words
        assert done.stderr.startswith("bloodkeras: ")
        assert done.stderr.count("\n") == 1


def test_predict_answers_the_good_and_reports_the_bad(tmp_path, cell):
    (tmp_path / "bad.png").write_text("no image", encoding="utf-8")
    out = tmp_path / "answers.csv"
    done = bloodkeras("predict", tmp_path, "--out", out)
    assert done.returncode == 1
    assert "1 of 2 files" in done.stderr
    header, bad, good = out.read_text(encoding="utf-8").splitlines()
    assert header.startswith("path,label,confidence,prob_basophil,")
    assert header.endswith(",prob_platelet,verdict,error")
    assert "not an image" in bad
    assert float(good.split(",")[2]) > 1 / 8


def test_predict_reads_a_list_from_standard_input(tmp_path, cell):
    """`-` is a word, though fire would take it for its separator."""
    command = [sys.executable, "-m", "bloodkeras", "predict", "-", "--format", "csv"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, input=f"{cell}\n{cell}\n"
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["path", *[str(cell)] * 2]


def test_predict_does_everything_at_once(tmp_path, cell):
    out, page, copies = tmp_path / "x.jsonl", tmp_path / "x.html", tmp_path / "sorted"
    words = ["predict", cell, "--out", out, "--report", page, "--sort-into", copies]
    assert bloodkeras(*words).returncode == 0
    assert [path.name for path in copies.rglob("*.png")] == ["cell.png"]
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert bloodkeras(*words).returncode == 1  # x.jsonl is there
    assert bloodkeras(*words, "--resume").returncode == 0
    assert out.read_text(encoding="utf-8").count("\n") == 1


def test_data_says_what_it_found(drawn_file):
    done = bloodkeras("data", "--data", drawn_file)
    assert done.returncode == 0
    assert "train 400, val 120, test 120" in done.stdout
    assert "not the published file" in done.stdout


def test_make_help_lists_every_target_in_flow_order():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    done = subprocess.run(["make", "help"], capture_output=True, text=True, cwd=ROOT, timeout=30)
    order = ["env", "data", "eda", "train", "evaluate", "export", "evaluate-onnx", "report", "all"]
    lines = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert [line for line in lines if line in order] == order
    for target in makefile.split(".PHONY:")[1].splitlines()[0].split():
        assert target in lines


def test_it_says_its_version():
    assert bloodkeras("--version").stdout == f"bloodkeras {__version__}\n"


@pytest.mark.parametrize("words", [[], ["study", "--help"], ["train", "simple", "--help"]])
def test_help_is_shown_wherever_it_is_asked_for(words):
    done = bloodkeras(*words)
    assert done.returncode == 0
    assert "SYNOPSIS" in done.stdout


def test_a_bare_name_means_that_export(tmp_path, cell):
    by_name, by_folder = (
        bloodkeras("predict", cell, "--model", model, "--format", "csv")
        for model in ("simple", str(ROOT / "exports/simple"))
    )
    assert by_name.returncode == 0, by_name.stderr
    assert by_name.stdout == by_folder.stdout
    unknown = bloodkeras("predict", cell, "--model", "simpel")
    assert "exports/ holds deeper, " in unknown.stderr
    assert "did you mean simple?" in unknown.stderr


def test_auto_says_why_the_cells_are_drawn(monkeypatch, capsys):
    from bloodkeras.data import splits as data

    def no_network():
        raise data.DownloadError("the network is down")

    monkeypatch.setattr(data, "cached_or_downloaded", no_network)
    assert data.load_splits("auto").synthetic
    assert "the network is down" in capsys.readouterr().err


def test_make_hands_the_epochs_on():
    done = subprocess.run(
        ["make", "-n", "all", "EPOCHS=1"], capture_output=True, text=True, cwd=ROOT, timeout=30
    )
    assert "study --data auto --epochs 1" in done.stdout


def test_make_judges_ones_own_exports_and_never_replaces_the_published(tmp_path):
    """Drawn cells' lie apart, also where `auto` found no other data."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    def planned(*words) -> str:
        command = ["make", "-n", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout

    assert "evaluate runs/exports/simple " in planned("evaluate-onnx")
    (tmp_path / "runs/synthetic/exports").mkdir(parents=True)
    assert "evaluate runs/synthetic/exports/simple " in planned("evaluate-onnx")
    (tmp_path / "runs/exports").mkdir()
    assert "evaluate runs/exports/simple " in planned("evaluate-onnx")
    assert "evaluate runs/synthetic/exports/simple " in planned("evaluate-onnx", "DATA=synthetic")
    assert "benchmark runs/exports/deeper " in planned("benchmark")
    for target in ("export", "all", "best", "robust"):
        assert "--exports" not in planned(target)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_all_that_the_docstring_says(name):
    """Fire alone drops a line of an argument's text that has a colon, or calls it an argument."""
    shown = " ".join(bloodkeras(name, "--help").stdout.split())
    command = COMMANDS[name]
    text, _, args = inspect.getdoc(command).partition("Args:\n")
    said = re.sub(r"^    \w+: ", "\n\n", args, flags=re.M)
    for paragraph in f"{text}\n\n{said}".split("\n\n"):
        assert " ".join(paragraph.split()) in shown
    for taken in parameters(command).values():
        if taken.kind is taken.KEYWORD_ONLY:
            assert f"--{taken.name.replace('_', '-')}=" in shown


def run_alone(code: str) -> subprocess.CompletedProcess:
    """Run a command table of one's own, with its only command."""
    command = [sys.executable, "-c", code, "load"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("stop", "status", "line"),
    [
        ("KeyboardInterrupt()", 130, "stopped by Ctrl-C"),
        ("Terminated('stopped by SIGTERM')", 1, "stopped by SIGTERM"),
    ],
)
def test_a_stop_while_a_package_in_c_is_loading_is_one_line(stop, status, line):
    """As onnxruntime fails to load where Ctrl-C comes while its C part imports NumPy."""
    code = f"""
import sys
from bloodkeras.cli.command_line import run
from bloodkeras.errors import Terminated

def load():
    try:
        try:
            raise {stop}
        except KeyboardInterrupt as stop:
            raise ImportError("initialization failed") from stop
    except ImportError as error:
        hidden = error
    raise ImportError("a package that could not load its C part") from hidden

run({{"load": load}})
"""
    done = run_alone(code)
    assert (done.returncode, done.stderr) == (status, f"bloodkeras: {line}\n")


def test_a_package_that_is_broken_is_not_taken_for_a_stop():
    code = """
from bloodkeras.cli.command_line import run

def load():
    raise ImportError("libstdc++.so.6: version not found")

run({"load": load})
"""
    done = run_alone(code)
    assert done.returncode == 1
    assert "ImportError: libstdc++" in done.stderr


ANSWERING = ("predict", "score", "serve", "demo", "judge")


@pytest.mark.parametrize("command", ANSWERING)
def test_images_are_asked_of_with_the_same_options_everywhere(command):
    shown = " ".join(bloodkeras(command, "--help").stdout.split())
    assert {field.name for field in dataclasses.fields(Asking)} == {
        *("classes", "prior", "views", "microns_per_pixel", "precision")
    }
    for name in vars(Asking()):
        option = "--" + name.replace("_", "-")
        assert f"{option}={name.upper()}" in shown


@pytest.mark.parametrize("command", ["train", "tune", "seeds", "held-out", "study"])
def test_help_lists_every_recipe_field_with_its_unit_range_and_default(command):
    lines = bloodkeras(command, "--help").stdout.partition("RECIPE FIELDS\n")[2].splitlines()
    own = parameters(COMMANDS[command])
    for name, field in settings().items():
        typed = (name if short(name) in own else short(name)).replace("_", "-")
        place = lines.index(f"    --{typed}: {field.metadata['about']}")
        assert field.metadata["range"].text in lines[place + 1]
        assert field.metadata["unit"] in lines[place + 1]
        assert f"default {field.default}" in lines[place + 1]


STARTING = ("bloodkeras.cli", "fire", "bloodkeras.recipe", "bloodkeras.cli.making", "numpy", "PIL")


@pytest.mark.parametrize("module", [*STARTING, "onnxruntime", "bloodkeras.answers.predict"])
def test_ctrl_c_while_anything_is_imported_is_one_line(module, cell):
    code = f"""
import sys

def stop(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        raise KeyboardInterrupt

sys.addaudithook(stop)
sys.argv = ["bloodkeras", "predict", {str(cell)!r}]
from bloodkeras.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, "bloodkeras: stopped by Ctrl-C\n")


def test_quiet_leaves_warnings_and_verbose_says_where_an_error_comes_from(tmp_path, cell):
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "again.png").write_bytes(cell.read_bytes())
    words = ["predict", tmp_path, "--model", "tiny", "--format", "csv"]
    usual, quiet = bloodkeras(*words), bloodkeras("-q", *words)
    assert quiet.stdout == usual.stdout  # the answers
    assert "2 images: " in usual.stderr
    assert "2 images: " not in quiet.stderr
    for done in (usual, quiet):
        assert "bloodkeras: passed over 1 file" in done.stderr
    plain, loud = (bloodkeras("predict", "none.png", *extra) for extra in ([], ["--verbose"]))
    assert plain.stderr.count("\n") == 1
    assert plain.stderr in loud.stderr
    assert "Traceback" in loud.stderr
    assert f"bloodkeras {__version__}, Python 3" in loud.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "{cell}", "--model", "tiny", "--sort-into", "{file}"],
        ["predict", "{cell}", "--model", "tiny", "--sort-into", "{file}/below"],
        ["score", "{cells}", "--model", "tiny", "--out", "{file}"],
        ["judge", "tiny", "--photos", "{cells}", "--labels", "{labels}", "--runs", "{file}"],
    ],
)
def test_a_file_where_a_folder_is_meant_is_said_to_be_one(words, cell, tmp_path):
    if words[0] == "score":
        pytest.importorskip("pyarrow")
    (tmp_path / "cells").mkdir()
    cell = cell.rename(tmp_path / "cells/cell.png")
    labels, file = tmp_path / "labels.csv", tmp_path / "file"
    labels.write_text("file,label\ncell.png,0\n", encoding="utf-8")
    file.write_text("taken", encoding="utf-8")
    places = {"cell": cell, "cells": cell.parent, "file": file, "labels": labels}
    done = bloodkeras(*(word.format(**places) for word in words))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"expected a folder, found the file {file}; choose another name" in done.stderr
    assert file.read_text(encoding="utf-8") == "taken"
