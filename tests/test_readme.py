"""The commands of the README and the docs exist, their Python runs, numbers are the cards'."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from bloodkeras.__main__ import COMMANDS
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.recipe import Recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
}
FIELDS = {name for field in fields(Recipe) for name in (field.name, field.name.split("_", 1)[1])}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def test_the_two_commands_come_first():
    first = blocks("bash")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make all", "make test"]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 160


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page):
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    text = PAGES[page]
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(
        re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)
    )
    assert named <= targets


def typed() -> list[tuple[str, str, str]]:
    """Return (page, command, the rest of the line) of every command line in a block of bash."""
    line = re.compile(r"^(?:\S+/)?(?:python -m )?bloodkeras ([a-z-]+)\b([^#|\n]*)", re.MULTILINE)
    return [
        (page, *found)
        for page, text in PAGES.items()
        for block in blocks("bash", text)
        for found in line.findall(block)
    ]


def test_every_command_exists():
    named = {command for _, command, _ in typed()}
    assert {"data", "eda", "train", "evaluate", "export", "predict", "report"} <= named
    assert named <= set(COMMANDS)
    assert {command for page, command, _ in typed() if page == "README.md"} >= {
        "predict",
        "judge",
        "serve",
        "train",
    }


@functools.cache
def help_of(command: str) -> str:
    words = [sys.executable, "-m", "bloodkeras", command, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return (done.stdout + done.stderr).replace("-", "_")


def test_every_option_exists():
    for page, command, rest in typed():
        for option in re.findall(r"--([a-z_-]+)", rest):
            name = option.replace("-", "_")
            assert name in FIELDS or name in help_of(command), f"{page}: {command} --{option}"


@pytest.mark.parametrize("code", blocks("python") + blocks("python", PAGES["docs/deploy.md"]))
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


@pytest.mark.parametrize("page", [page for page in PAGES if "/" not in page])
def test_links_lead_somewhere(page):
    """Those of the docs are followed by `make docs`."""
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES[page]):
        assert link.startswith("https://") or (ROOT / link).exists()


def test_licence_and_credits_are_given():
    assert BLOODMNIST.licence in README
    for doi in re.findall(r"doi:\S+[^.\s]", " ".join(BLOODMNIST.credits)):
        assert doi in README
