"""A run's model.keras in plain Keras, after the one import that its run.json names."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.studies.study import loading
from bloodkeras.training.callbacks import model_file
from bloodkeras.training.models import build_model
from bloodkeras.training.run_folder import TO_LOAD
from bloodkeras.training.train import compile_model

STEPS = 5
IMPORTS, LOAD = TO_LOAD.split("; ")
# In a process of its own, in which nothing else of this package is imported.
PLAIN = f"""
import json, sys, numpy as np
{IMPORTS}
images = np.load(sys.argv[1])
for path in sys.argv[2:]:
    model = {LOAD.replace("'model.keras'", "path")}
    steps = int(model.optimizer.iterations) if hasattr(model, "optimizer") else None
    print(json.dumps([path, steps, np.asarray(model(images), float).tolist()]))
print(json.dumps(sorted(name for name in sys.modules if name.startswith("bloodkeras."))))
"""
KINDS = {
    **{name: {} for name in RECIPES},
    "averaged": {"ema": "0.9"},
    "adamw": {"optimizer": "adamw", "weight_decay": "0.1", "schedule": "cosine"},
    "bfloat16": {"precision": "mixed_bfloat16"},
    "bfloat16 averaged": {"precision": "mixed_bfloat16", "ema": "0.9"},
}


def compiled(recipe) -> keras.Model:
    """Return a network as `train` saves it: compiled, its optimiser some steps on its way."""
    model = build_model(recipe)
    compile_model(model, recipe, 7)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(STEPS)
    return model


@pytest.fixture(scope="module")
def loaded(drawn, tmp_path_factory):
    """Every kind of model.keras: {its name: (the network, what plain Keras made of the file)}."""
    folder = tmp_path_factory.mktemp("plain")
    images = drawn.test.images[:4].astype(np.float32)
    np.save(folder / "images.npy", images)
    models = {}
    for name, settings in KINDS.items():
        start = RECIPES.get(name, RECIPES["deeper"])
        recipe = override(start, {"precision": "float32", "width": "0.25"} | settings)
        models[name] = compiled(recipe)
    paths = {}
    for name, model in models.items():
        paths[name] = folder / f"{name}.keras"
        paths[name].write_bytes(model_file(model, folder))
    words = [str(folder / "images.npy"), *map(str, paths.values())]
    command = [sys.executable, "-c", PLAIN, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, modules = (json.loads(line) for line in done.stdout.splitlines())
    assert "bloodkeras.training.train" not in modules
    found = {path: (steps, np.array(answers)) for path, steps, answers in lines}
    return {n: (m, *found[str(paths[n])]) for n, m in models.items()}, images


@pytest.mark.parametrize("name", KINDS)
def test_plain_keras_loads_it_with_its_optimiser_and_answers_alike(loaded, name):
    (model, steps, answers), images = loaded[0][name], loaded[1]
    assert np.array_equal(answers, np.asarray(model(images), float))
    assert steps == STEPS


def test_without_the_import_it_is_not_loaded(loaded, tmp_path):
    """Else the import would be documented for nothing."""
    model = loaded[0]["tiny"][0]
    (tmp_path / "model.keras").write_bytes(model_file(model, tmp_path))
    code = f"import keras; {LOAD}"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 1
    assert "FusedBatchNormalization" in done.stderr


def test_the_line_that_is_printed_names_the_run(tmp_path):
    line = loading(tmp_path / "run")
    assert line.startswith(IMPORTS)
    assert f"'{(tmp_path / 'run/model.keras').as_posix()}'" in line
