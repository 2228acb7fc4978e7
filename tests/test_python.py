"""What Python can call: each public name is typed, described, lazy, and as docs/python.md says."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bloodkeras
from bloodkeras.data.splits import Split, Splits
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import draw_arrays

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")
RUNTIME, TRAINING = (
    re.findall(r"```python\n(.*?)```", part, re.DOTALL) for part in PAGE.split("## Train, judge")
)


def is_plain(thing: object) -> bool:
    """Return whether it is a function, or a method of a class or an instance."""
    return inspect.isfunction(thing) or inspect.ismethod(thing)


def public_functions() -> dict[str, Callable]:
    """Return every public function, and every public method of a public class."""
    found = {}
    for name in bloodkeras.__all__:
        thing = getattr(bloodkeras, name)
        if inspect.isfunction(thing):
            found[name] = thing
        else:
            own = {key: getattr(thing, key) for key in vars(thing) if not key.startswith("_")}
            found |= {f"{name}.{key}": m for key, m in own.items() if is_plain(m)}
    return found


def unannotated(function) -> list[str]:
    """Return what in a signature has no type."""
    signature = inspect.signature(function)
    missing = [
        name
        for name, p in signature.parameters.items()
        if p.annotation is p.empty and name not in ("self", "cls")
    ]
    return missing + ["return"] * (signature.return_annotation is signature.empty)


def test_an_unannotated_function_is_found():
    def half(a: int, b, *rest) -> int:
        return a

    assert unannotated(half) == ["b", "rest"]
    assert unannotated(lambda: 0) == ["return"]


def test_every_public_function_is_typed_and_described():
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    functions = public_functions()
    assert {"train", "Classifier.predict", "Classifier.load", "Report.value"} <= set(functions)
    missing = {name: unannotated(function) for name, function in functions.items()}
    assert {name: what for name, what in missing.items() if what} == {}
    assert [name for name, function in functions.items() if not inspect.getdoc(function)] == []


def test_every_public_name_is_described_and_every_function_has_an_example():
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    for name in bloodkeras.__all__:
        thing = getattr(bloodkeras, name)
        described = inspect.getdoc(thing)
        assert described, name
        if inspect.isfunction(thing):
            assert re.search(rf">>> .*\b{name}\(", described), name


@pytest.mark.parametrize("name", bloodkeras.__all__)
def test_no_public_name_is_a_module_s_too(name):
    """Else it would depend on what was imported before, which of them one gets."""
    folder = ROOT / "bloodkeras"
    assert not (folder / name).exists()
    assert not (folder / f"{name}.py").exists()


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "bloodkeras/__init__.py").read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If))
    seen = {
        alias.name: part.module.removeprefix("bloodkeras.")
        for part in block.body
        for alias in part.names
    }
    assert seen == bloodkeras._HOMES
    assert sorted(seen) == sorted(bloodkeras.__all__) == bloodkeras.__all__
    assert set(bloodkeras.__all__) <= set(dir(bloodkeras))


@pytest.mark.parametrize("name", ["BloodkerasError", "Classifier", "Recipe", "load", "train"])
def test_each_name_is_the_thing_itself(name):
    home = importlib.import_module(f"bloodkeras.{bloodkeras._HOMES[name]}")
    assert getattr(bloodkeras, name) is getattr(home, name)


def test_importing_the_package_imports_nothing():
    code = (
        "import sys, bloodkeras\n"
        "print(*sorted({n.split('.')[0] for n in sys.modules} & {'numpy', 'PIL', 'keras'}))\n"
        "print(*sorted(n for n in sys.modules if n.startswith('bloodkeras.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "\n\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'bloodkeras' has no attribute 'lode'"):
        bloodkeras.lode  # noqa: B018


# --- what the functions do ------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["path", "text", "bytes", "image", "array"])
def test_a_photograph_becomes_pixels_whatever_holds_it(tmp_path, given):
    cell = draw_arrays({"train": 8, "val": 8, "test": 8})["test_images"][0]
    path = tmp_path / "cell.png"
    Image.fromarray(cell).save(path)
    held = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "image": Image.fromarray(cell),
        "array": cell,
    }
    pixels = bloodkeras.read_photograph(held[given])
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, cell)


def test_what_is_no_photograph_is_refused_in_one_line():
    with pytest.raises(BloodkerasError, match="cannot read the image: found int") as refused:
        bloodkeras.read_photograph(3)
    assert "\n" not in str(refused.value)


def test_a_recipe_takes_python_values():
    recipe = bloodkeras.get_recipe("deeper", epochs=3, learning_rate=5e-4, class_weights=False)
    assert (recipe.train_epochs, recipe.train_learning_rate) == (3, 5e-4)
    assert recipe.train_class_weights is False


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"epochs": "many"}, {"epoch": 3}])
def test_a_wrong_setting_is_refused_before_any_training(settings):
    with pytest.raises(UsageError, match=f"--{next(iter(settings))}"):
        bloodkeras.train("simple", **settings)


def test_an_export_is_judged_without_tensorflow(drawn):
    """The 120 drawn test images, with the labels turned round: what was right is wrong."""
    classifier = bloodkeras.load("tiny")
    report = bloodkeras.evaluate(classifier, drawn)
    called = report.probs.argmax(1)
    assert report.value("accuracy") == pytest.approx((called == drawn.test.labels).mean())
    assert (report.model, report.engine, report.split) == ("tiny", "onnx", "test")
    turned = Split(drawn.test.images, called.astype(np.int64))
    right = Splits(drawn.train, drawn.val, turned, "turned", "0" * 64)
    if len(set(called.tolist())) == 8:
        assert bloodkeras.evaluate(classifier, right).value("accuracy") == 1.0


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, drawn_file) -> Path:
    """A folder with what the page's examples name."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "cells.npz").write_bytes(drawn_file.read_bytes())
    for name in ("cell.jpg", "cell.png"):
        Image.new("RGB", (360, 363), "white").save(folder / name)
    return folder


def run_blocks(blocks: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=550,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_of_the_runtime_run(workplace):
    said = run_blocks(RUNTIME, workplace).splitlines()
    assert len(said) == 4
    for line in said[:2]:
        assert re.fullmatch(r"[a-z ]+ \d\.\d+ (accepted|unsure|foreign)", line)
    assert said[2] in bloodkeras.load("residual").labels
    assert said[3].startswith("cannot read missing.jpg")


@pytest.mark.slow
def test_the_examples_of_training_run(workplace):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    said = run_blocks([RUNTIME[0].splitlines()[0], *TRAINING], workplace)
    assert re.search(r"^runs/simple-seed42 1 0\.\d{3}$", said, re.MULTILINE)
    assert re.search(r"^0\.\d{3} \(120, 8\)$", said, re.MULTILINE)
    assert re.search(r"^simple 0\.\d+$", said, re.MULTILINE)
    assert said.splitlines()[-1] == "deeper 0.0005"
    assert (workplace / "runs/exports/simple/model.onnx").is_file()


# --- types, as a user's type checker sees them ----------------------------------------------------

USER = """
import bloodkeras
from bloodkeras.answers.prior import class_weights
from bloodkeras.named_types import Floats

classifier = bloodkeras.load("deeper")
reveal_type(classifier)
reveal_type(classifier.predict("cell.jpg"))
reveal_type(classifier.predict_proba(bloodkeras.load_splits().test.images))
reveal_type(bloodkeras.read_photograph(b""))
reveal_type(bloodkeras.train("deeper", epochs=3, learning_rate=1e-3))
reveal_type(bloodkeras.evaluate(classifier).value("accuracy"))
classifier.predict(3)
bloodkeras.load(precision=8)
array: Floats = class_weights(["monocyte"], classifier.labels)
"""


@pytest.mark.slow
def test_a_user_s_program_is_checked(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "program.py").write_text(USER, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    command += ["--follow-imports", "silent", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [*command, str(tmp_path / "program.py")], capture_output=True, text=True, cwd=ROOT
    )
    shown = re.findall(r'Revealed type is "([^"]+)"', done.stdout)
    assert [re.sub(r"[\w.]*\.(?=\w)", "", kind).split("[")[0] for kind in shown] == [
        "Classifier",
        "list",
        "ndarray",
        "ndarray",
        "Run",
        "float",
    ], done.stdout
    assert "list[bloodkeras.answers.classifier.Prediction]" in shown[1]
    assert "8Bit" in shown[3] or "uint8" in shown[3]
    wrong = [line for line in done.stdout.splitlines() if "error:" in line]
    places = [re.search(r"program.py:(\d+)", line)[1] for line in wrong]
    assert places == ["13", "14", "15"], done.stdout
