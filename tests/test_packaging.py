"""What `pip install .` gives: the runtime and its command, small, without the training side.

Offline: the package is really built and installed, into a virtual environment to which the
packages that it requires are linked from this one.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow
pytest.importorskip("pip")
ROOT = Path(__file__).parents[1]
LIMIT_MB = 60  # on top of onnxruntime and numpy
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def pip(*words, cwd: Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=CLEAN)
    assert done.returncode == 0, done.stderr


def required_by(found: Distribution) -> set[str]:
    """Return the names of the packages a distribution needs, extras left out, to any depth."""
    names = set()
    for line in found.requires or []:
        name = re.match(r"[\w.-]+", line).group()
        if "extra ==" not in line and "sys_platform" not in line and name not in names:
            names |= {name} | required_by(distribution(name))
    return names


def size_mb(names: set[str]) -> float:
    """Return how much the files of some installed packages take, as du counts."""
    files = [file.locate() for name in names for file in distribution(name).files or []]
    return sum(file.stat().st_blocks for file in files if file.exists()) * 512 / 1e6


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[Path, Path]:
    """Return the environment's bin folder, and what pip installed there of this package."""
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "bloodkeras", source / "bloodkeras")
    offline = ("--no-index", "--no-deps")
    pip("wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    pip("--python", python, "install", *offline, wheel, cwd=folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    metadata = Distribution.at(next(packages.glob("bloodkeras-*.dist-info")))
    for name in required_by(metadata):
        for top in {file.parts[0] for file in distribution(name).files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution(name).locate_file(top))
    return environment / "bin", packages


def run(installed, *words, cwd: Path) -> subprocess.CompletedProcess:
    command = [installed[0] / "bloodkeras", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, env=CLEAN)


def test_it_is_small(installed):
    _, packages = installed
    metadata = Distribution.at(next(packages.glob("bloodkeras-*.dist-info")))
    counted = {"onnxruntime", "numpy"}
    for name in tuple(counted):
        counted |= required_by(distribution(name))
    own = sum(file.stat().st_blocks for file in (packages / "bloodkeras").rglob("*")) * 512 / 1e6
    assert own + size_mb(required_by(metadata) - counted) < LIMIT_MB


def test_its_command_predicts(installed, tmp_path):
    Image.new("RGB", (360, 363), "white").save(tmp_path / "cell.jpg")
    words = ("predict", "cell.jpg", "--model", ROOT / "exports/deeper", "--format", "csv")
    done = run(installed, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("cell.jpg,")


def test_a_step_of_training_says_what_to_install(installed, tmp_path):
    done = run(installed, "train", "simple", "--data", "synthetic", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("bloodkeras: this step needs TensorFlow")
    assert "pip install" in done.stderr


@pytest.mark.parametrize("words", [("data",), ("evaluate", ROOT / "exports/deeper")])
def test_every_step_fails_in_one_line_without_the_training_side(installed, tmp_path, words):
    done = run(installed, *words, "--data", "synthetic", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
