"""What `pip install bloodkeras` gives: the wheel alone predicts, offline, in any folder.

The package is really built and installed: into an environment that has only the packages it
requires, linked from this one, and into another that has all that this one has, as with [all].
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bloodkeras.images.synthetic import draw_arrays

pytestmark = pytest.mark.slow
if sys.platform == "win32":
    pytest.skip("links packages into an environment laid out as on Unix", allow_module_level=True)
pytest.importorskip("pip")
ROOT = Path(__file__).parents[1]
LIMIT_MB = 60  # on top of onnxruntime and numpy
WHEEL_LIMIT_MB = 18  # six models, three files each; 16 when this was written
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
def wheel(tmp_path_factory) -> Path:
    """The wheel, built of a copy of what belongs to the package."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("bloodkeras", "exports"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    pip("wheel", *offline, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path, wheel: Path) -> tuple[Path, Path]:
    """Return the bin folder of a new environment with the wheel in it, and its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    pip("--python", python, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    return folder / "bin", packages


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> tuple[Path, Path]:
    """An environment with the package and what it requires, and nothing else."""
    bin_folder, packages = environment(tmp_path_factory.mktemp("alone") / "environment", wheel)
    metadata = Distribution.at(next(packages.glob("bloodkeras-*.dist-info")))
    for name in required_by(metadata):
        for top in {file.parts[0] for file in distribution(name).files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution(name).locate_file(top))
    return bin_folder, packages


@pytest.fixture(scope="module")
def with_extras(wheel, tmp_path_factory) -> tuple[Path, Path]:
    """An environment with the package and all extras; without medmnist, which is in none."""
    bin_folder, packages = environment(tmp_path_factory.mktemp("all") / "environment", wheel)
    (packages / "all.pth").write_text(str(distribution("numpy").locate_file("")), encoding="utf-8")
    (packages / "medmnist.py").write_text("raise ImportError('no medmnist')", encoding="utf-8")
    return bin_folder, packages


@pytest.fixture
def lab(tmp_path) -> Path:
    """A folder with a photograph, and photos/ with labels.csv: 80 drawn cells, ten a class."""
    arrays = draw_arrays({"train": 8, "val": 8, "test": 800})
    labels = arrays["test_labels"].ravel()
    rows = [i for k in range(8) for i in np.flatnonzero(labels == k)[:10]]
    (tmp_path / "photos").mkdir()
    for i in rows:
        Image.fromarray(arrays["test_images"][i]).save(tmp_path / f"photos/{i}.png")
    with open(tmp_path / "labels.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *((f"{i}.png", labels[i]) for i in rows)])
    Image.new("RGB", (360, 363), "white").save(tmp_path / "cell.jpg")
    return tmp_path


def run(installed, *words, cwd: Path, timeout=60) -> subprocess.CompletedProcess:
    command = [installed[0] / "bloodkeras", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=timeout, env=CLEAN
    )


def done(installed, *words, cwd: Path, timeout=60) -> str:
    """Run a command that succeeds; return what it printed."""
    finished = run(installed, *words, cwd=cwd, timeout=timeout)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_wheel_holds_all_modules_and_all_published_exports(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if name.startswith("bloodkeras/")}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "bloodkeras").rglob("*.py")}
    published = {f"bloodkeras/{p.relative_to(ROOT)}" for p in (ROOT / "exports").glob("*/*")}
    assert len(published) == 42
    modules.add("bloodkeras/py.typed")  # whoever installs it may check types against it
    modules.add("bloodkeras/images/home.png")  # what `frames` shows beside one's own cells
    modules.add("bloodkeras/labelling/page.js")  # what the page of `label` does in a browser
    assert names == {name.replace(os.sep, "/") for name in modules | published}
    assert wheel.stat().st_size < WHEEL_LIMIT_MB * 1e6


def test_it_is_small(installed):
    _, packages = installed
    metadata = Distribution.at(next(packages.glob("bloodkeras-*.dist-info")))
    counted = {"onnxruntime", "numpy"}
    for name in tuple(counted):
        counted |= required_by(distribution(name))
    own = sum(file.stat().st_blocks for file in (packages / "bloodkeras").rglob("*")) * 512 / 1e6
    assert own + size_mb(required_by(metadata) - counted) < LIMIT_MB


@pytest.mark.parametrize("model", [[], ["--model", "tiny"], ["--model", "residual"]])
def test_its_command_predicts(installed, lab, model):
    table = done(installed, "predict", "cell.jpg", *model, "--format", "csv", cwd=lab)
    assert table.splitlines()[1].startswith("cell.jpg,")


def test_python_loads_by_name(installed, lab):
    code = "import bloodkeras; print(bloodkeras.__file__, bloodkeras.load().predict('cell.jpg'))"
    command = [installed[0] / "python", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, cwd=lab, env=CLEAN)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(str(installed[1]))


def test_it_judges_photographs(installed, lab):
    words = ("judge", "tiny", "--photos", "photos", "--labels", "labels.csv")
    assert "80" in done(installed, *words, cwd=lab)
    assert (lab / "runs/onnx-published-tiny/photos-photos-labels/photos.json").is_file()


def test_a_wrong_name_says_what_was_meant(installed, lab):
    refused = run(installed, "predict", "cell.jpg", "--model", "residul", cwd=lab)
    assert refused.returncode == 1
    assert "did you mean residual?" in refused.stderr


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("train", ["train", "simple", "--data", "synthetic"]),
        ("train", ["evaluate", "tiny", "--data", "synthetic"]),
        ("train", ["export", "--data", "synthetic"]),
        (
            "calibrate",
            ["calibrate", "tiny", "--photos", "photos", "--labels", "labels.csv", "--out", "mine"],
        ),
        ("serve", ["serve", "--model", "tiny"]),
        ("demo", ["demo"]),
        ("label", ["label", "photos", "--out", "new.csv"]),
        ("tune", ["tune", "simple", "--data", "synthetic"]),
        ("parquet", ["predict", "cell.jpg", "--out", "x.parquet"]),
        ("parquet", ["score", "photos", "--out", "answers"]),
        ("ray", ["score", "photos", "--out", "answers", "--engine", "ray"]),
    ],
)
def test_what_is_not_installed_names_its_extra(installed, lab, extra, words):
    refused = run(installed, *words, cwd=lab)
    assert refused.returncode == 1
    assert refused.stderr.startswith("bloodkeras: this step needs ")
    assert refused.stderr.endswith(f"run `pip install 'bloodkeras[{extra}]'`\n")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("data",), ("evaluate", ROOT / "exports/deeper")])
def test_every_step_fails_in_one_line_without_the_training_side(installed, tmp_path, words):
    found = run(installed, *words, "--data", "synthetic", cwd=tmp_path)
    assert "Traceback" not in found.stderr
    assert found.returncode in (0, 1)


# --- with the extras ----------------------------------------------------------------------------


def test_it_scores(with_extras, lab):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    words = ("score", "photos", "--out", "answers", "--model", "tiny")
    assert "wrote 80 rows to answers" in done(with_extras, *words, cwd=lab)


def test_it_calibrates(with_extras, lab):
    pytest.importorskip("onnx", reason="onnx is not installed")
    cells = ("--photos", "photos", "--labels", "labels.csv")
    done(with_extras, "calibrate", "tiny", *cells, "--last-layer", "--out", "mine", cwd=lab)
    assert "cell.jpg" in done(with_extras, "predict", "cell.jpg", "--model", "mine", cwd=lab)


@pytest.mark.parametrize(
    ("package", "words", "path", "expected"),
    [
        ("fastapi", ["serve"], "v2/models/robust-64", "uint8"),
        ("fastapi", ["serve", "--model", "tiny"], "v2/models/tiny", "uint8"),
        ("gradio", ["demo", "--model", "tiny"], "", "bloodkeras"),
        ("onnx", ["label", "photos", "--out", "new.csv", "--model", "tiny"], "", "const token"),
    ],
)
def test_it_serves_and_demonstrates(with_extras, lab, package, words, path, expected):
    pytest.importorskip(package, reason=f"{package} is not installed")
    command = [with_extras[0] / "bloodkeras", *words, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=lab, env=CLEAN
    ) as server:
        try:
            said = server.stdout.readline()
            address = re.match(r"http://\S+", said)
            assert address, said
            with urllib.request.urlopen(f"{address.group()}/{path}", timeout=60) as answer:
                assert expected in answer.read().decode().lower()
        finally:
            server.terminate()


def test_it_trains_evaluates_and_exports(with_extras, lab, drawn_file):
    """And `medmnist`, which no extra installs, is not missed."""
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    data = ("--data", drawn_file)
    shorter = ("--epochs", "1", "--batch-size", "100")
    done(with_extras, "train", "simple", *data, *shorter, cwd=lab, timeout=300)
    assert "MedMNIST AUC" in done(with_extras, "evaluate", "simple", *data, cwd=lab, timeout=300)
    said = done(with_extras, "export", "simple", *data, cwd=lab, timeout=300)
    assert "published runs/exports/simple" in said
    card = json.loads((lab / "runs/exports/simple/card.json").read_text(encoding="utf-8"))
    assert {"AUC", "ACC"} == set(card["metrics"]["test"]["official"])
    named = run(with_extras, "predict", "cell.jpg", "--model", "simple", cwd=lab)
    assert "your own one is runs/exports/simple" in named.stderr
