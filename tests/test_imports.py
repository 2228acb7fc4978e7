"""The house's two rules about imports: the wall around the runtime, and the order of the flow."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bloodkeras

PACKAGE = Path(bloodkeras.__file__).parent
HEAVY = (
    "tensorflow",
    "keras",
    "sklearn",
    "matplotlib",
    "seaborn",
    "pandas",
    "medmnist",
    "scipy",
    "skimage",
    "onnx",
    "tf2onnx",
    "pooch",
    "requests",
    "tqdm",
    "pyarrow",
    "markdown_it",
    "keras_tuner",
    "grpc",
    "rich",
    "fastapi",
    "starlette",
    "pydantic",
    "orjson",
    "prometheus_client",
    "uvicorn",
    "gradio",
    "ray",
)
# The order of the maps in the docstrings: the package's names the folders, each folder's its files.
LISTED = re.compile(r"^(?:    )?(\w+)(/|\.py) ", re.M)


def read_map() -> tuple[str, ...]:
    """Return every module in the order of the maps: "errors", ..., "images.refusal", ..."""
    flow = []
    for name, kind in LISTED.findall(bloodkeras.__doc__):
        if kind == ".py":
            flow.append(name)
        else:
            text = (PACKAGE / name / "__init__.py").read_text(encoding="utf-8")
            flow += [f"{name}.{module}" for module, _ in LISTED.findall(text)]
    return tuple(flow)


FLOW = read_map()
# What a folder of the deployment side may import from outside, and where it is imported lazily.
FASTAPI = {"fastapi", "starlette", "pydantic"}
RUNTIME = {"numpy", "onnxruntime", "PIL"}
ALLOWED = {
    "images": RUNTIME,
    "answers": RUNTIME,
    "laboratory": RUNTIME,
    "fields": RUNTIME | {"scipy", "skimage"},
    "scoring": RUNTIME,
    "serving": {
        "numpy",
        "fastapi",
        "starlette",
        "pydantic",
        "orjson",
        "prometheus_client",
        "uvicorn",
    },
    "labelling": {"numpy", "PIL", "starlette", "uvicorn"},
    "demo": {"numpy", "PIL", "gradio", "fastapi", "uvicorn"},
}
LAZY = {
    "answers.formats": {"pyarrow"},
    "laboratory.graph": {"onnx"},
    "scoring.ray_cluster": {"ray"},
    "scoring.ray_engine": {"ray"},
}


def imported(path: Path) -> set[str]:
    """Return every module a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    """Return the modules of this package among imported names, as FLOW names them."""
    short = {name.removeprefix("bloodkeras.") for name in names if name.startswith("bloodkeras.")}
    return {name for name in short if name in FLOW}


def test_the_maps_list_every_module():
    found = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert found == set(FLOW)
    assert len(FLOW) == len(set(FLOW))


@pytest.mark.parametrize("module", FLOW)
def test_a_module_imports_only_modules_above_it(module):
    path = PACKAGE / f"{module.replace('.', '/')}.py"
    later = set(FLOW[FLOW.index(module) :])
    assert not own(imported(path)) & later


@pytest.mark.parametrize("module", [m for m in FLOW if m.split(".")[0] in ALLOWED])
def test_deployment_is_on_its_side_of_the_wall(module):
    names = imported(PACKAGE / f"{module.replace('.', '/')}.py")
    outside = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    allowed = ALLOWED[module.split(".")[0]] | LAZY.get(module, set())
    assert outside <= allowed | {"bloodkeras"}
    rooms = {name.split(".")[0] for name in own(names) if "." in name}
    assert rooms <= set(ALLOWED)


def run_blocked(code: str) -> subprocess.CompletedProcess:
    """Run Python in which importing any heavy package fails."""
    block = f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\n"
    command = [sys.executable, "-c", block + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_block_blocks():
    assert "ModuleNotFoundError" in run_blocked("import keras").stderr


def test_the_runtime_and_the_command_line_work_without_the_training_side():
    modules = "bloodkeras.answers.predict, bloodkeras.scoring.command, bloodkeras.__main__"
    code = f"import {modules}; print('imported')"
    assert run_blocked(code).stdout == "imported\n"


def test_predict_and_help_work_without_the_training_side(tmp_path):
    from PIL import Image

    Image.new("RGB", (28, 28), "white").save(tmp_path / "cell.png")
    for words in (["--help"], ["predict", str(tmp_path / "cell.png")]):
        code = f"sys.argv[1:] = {words!r}\nfrom bloodkeras.__main__ import main; main()"
        done = run_blocked(code)
        assert done.returncode == 0, done.stderr
