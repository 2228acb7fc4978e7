"""The README's commands exist, its Python runs, and its numbers are the cards'."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bloodkeras.__main__ import COMMANDS
from bloodkeras.bloodmnist import BLOODMNIST

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_two_commands_come_first():
    first = blocks("bash")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make all", "make test"]


def test_every_make_target_exists():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set(re.findall(r"`make ([a-z-]+)`", README)) | set(
        re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)
    )
    assert {"all", "test", "help"} & named
    assert named <= targets


def test_every_command_exists():
    named = set(re.findall(r"(?:python -m )?bloodkeras ([a-z-]+)", "\n".join(blocks("bash"))))
    assert {"data", "eda", "train", "evaluate", "export", "predict", "report"} <= named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_runs(code, tmp_path):
    from PIL import Image

    shutil.copytree(ROOT / "exports/deeper", tmp_path / "exports/deeper")
    Image.new("RGB", (360, 363), "white").save(tmp_path / "cell.jpg")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[a-z ]+ \d\.\d+\n", done.stdout)


@pytest.mark.parametrize("name", ["simple", "deeper"])
def test_the_accuracy_to_expect_is_the_cards(name):
    """The published export's: what is trained here lies elsewhere, and may differ a little."""
    card = json.loads((ROOT / "exports" / name / "card.json").read_text(encoding="utf-8"))
    accuracy = card["metrics"]["test"]["headline"]["accuracy"]["value"]
    assert f"**{accuracy:.1%}**" in README


def test_figures_exist():
    figures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(figures) >= 2
    for figure in figures:
        assert (ROOT / figure).is_file()


def test_licence_and_credits_are_given():
    assert BLOODMNIST.licence in README
    for doi in re.findall(r"doi:\S+[^.\s]", " ".join(BLOODMNIST.credits)):
        assert doi in README
