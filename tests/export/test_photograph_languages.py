"""The lines of docs/photograph_file.md that can run here do, and say what `predict` says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_field import field

import bloodkeras

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/photograph_file.md").read_text(encoding="utf-8")
PACKAGES = "BLOODKERAS_NODE_MODULES"  # a folder node_modules with onnxruntime-node and sharp


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a photograph and an export; no decoder differs about a PNG's pixels."""
    folder = tmp_path_factory.mktemp("languages")
    shutil.copytree(ROOT / "exports/robust-64", folder / "exports/robust-64")
    field(1).crop((0, 0, 360, 350)).save(folder / "cell.jpg", "PNG")
    return folder


def code(language: str, place: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[place]


def expected(folder: Path) -> str:
    """Return what the lines are to print."""
    (answer,) = bloodkeras.load("robust-64").predict(folder / "cell.jpg")
    return f"{answer.label} {answer.confidence:.4f} {answer.verdict}\n"


def run(*words, folder: Path) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python(folder):
    assert run(sys.executable, "-c", code("python"), folder=folder) == expected(folder)


def test_python_makes_an_eight_bit_file(folder):
    run(sys.executable, "-c", code("python", 1), folder=folder)
    assert (folder / "photograph.int8.onnx").stat().st_size > 1_000_000


def test_javascript(folder):
    packages = os.environ.get(PACKAGES)
    if not packages or not shutil.which("node"):
        pytest.skip(f"needs Node, and {PACKAGES} with onnxruntime-node and sharp")
    (folder / "node_modules").symlink_to(packages)
    (folder / "cell.mjs").write_text(code("javascript"), encoding="utf-8")
    assert run("node", "cell.mjs", folder=folder) == expected(folder)
