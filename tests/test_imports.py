"""The house's two rules about imports: the wall around the runtime, and the order of the flow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bloodkeras

PACKAGE = Path(bloodkeras.__file__).parent
HEAVY = (
    "tensorflow", "keras", "sklearn", "matplotlib", "seaborn", "pandas", "medmnist", "scipy",
    "onnx", "tf2onnx", "pooch", "requests", "tqdm", "pyarrow", "markdown_it",
    "keras_tuner", "grpc", "rich", "fastapi", "starlette", "pydantic", "orjson",
    "prometheus_client", "uvicorn", "gradio", "ray",
)  # fmt: skip
RUNTIME_ALLOWED = {"numpy", "onnxruntime", "PIL"}
RUNTIME_EXTRAS = {
    "runtime.formats": {"pyarrow"},
    "runtime.graph": {"onnx"},
}  # imported where it is asked for
# The order of the map in bloodkeras/__init__.py; a module imports only modules above it.
FLOW = (
    "errors", "contract", "interrupts", "recipe", "search_space",
    "runtime.refusal", "runtime.unsupported", "runtime.decode", "runtime.scale",
    "runtime.preprocess", "runtime.folder", "runtime.progress", "runtime.spreadsheet",
    "runtime.class_names", "runtime.prior", "runtime.exports", "runtime.classifier",
    "runtime.benchmark", "runtime.whole_file",
    "runtime.arrays", "runtime.pages", "runtime.sources", "runtime.formats", "runtime.table",
    "runtime.printed", "runtime.copies",
    "runtime.page_style", "runtime.page", "runtime.shift_score", "runtime.labelled",
    "runtime.mistakes_page", "runtime.laboratory", "runtime.graph",
    "runtime.activation_map",
    "runtime.fit", "runtime.adapt", "runtime.score",
    "scoring.listing", "scoring.lock", "scoring.plan", "scoring.reading",
    "scoring.partition", "scoring.local", "scoring.ray_cluster", "scoring.ray_engine",
    "scoring.command",
    "serving.options", "serving.tensors", "serving.reply", "serving.photographs",
    "serving.batcher", "serving.audit_log", "serving.guard", "serving.served_model",
    "serving.app", "serving.listener", "serving.server",
    "synthetic", "demo.explain", "demo.tile", "demo.page", "demo.server", "download",
    "data", "audit", "stain", "augment", "pipeline", "checkpoint", "gaussian",
    "colours", "optimizers", "layers", "device", "models", "forecast", "keeper", "start", "train",
    "join",
    "metrics", "evaluate", "foreign", "foreign_score", "calibrate", "held_out", "doubt", "shifts",
    "quantise", "empty_batch", "figures",
    "tuning.trial", "tuning.plan", "tuning.oracle", "tuning.strategies",
    "tuning.leaderboard", "tuning.plots", "tuning.chief", "tuning.search", "tuning.command",
    "document", "card", "export", "report",
    "torch_twin", "contenders", "benchmark_table", "benchmark",
    "places", "compare", "study", "command_line", "__main__",
)  # fmt: skip


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


def test_flow_lists_every_module():
    found = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert found == set(FLOW)


def test_the_map_in_the_package_docstring_names_every_module():
    for module in FLOW:
        assert f"{module.split('.')[-1]}.py" in bloodkeras.__doc__


@pytest.mark.parametrize("module", FLOW)
def test_a_module_imports_only_modules_above_it(module):
    path = PACKAGE / f"{module.replace('.', '/')}.py"
    later = set(FLOW[FLOW.index(module) :])
    assert not own(imported(path)) & later


@pytest.mark.parametrize("module", [m for m in FLOW if m.startswith("runtime.")])
def test_the_runtime_imports_three_packages_and_its_own_foundations(module):
    names = imported(PACKAGE / f"{module.replace('.', '/')}.py")
    outside = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside <= RUNTIME_ALLOWED | {"bloodkeras"} | RUNTIME_EXTRAS.get(module, set())
    assert own(names) <= {"errors", "contract"} | {m for m in FLOW if m.startswith("runtime.")}


SERVING_ALLOWED = {
    "numpy", "fastapi", "starlette", "pydantic", "orjson", "prometheus_client", "uvicorn"
}  # fmt: skip


@pytest.mark.parametrize("module", [m for m in FLOW if m.startswith("serving.")])
def test_the_server_is_on_the_runtime_s_side_of_the_wall(module):
    names = imported(PACKAGE / f"{module.replace('.', '/')}.py")
    outside = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside <= SERVING_ALLOWED | {"bloodkeras"}
    allowed = {m for m in FLOW if m.startswith(("runtime.", "serving."))}
    assert own(names) <= {"errors", "contract", "interrupts"} | allowed


SCORING_EXTRAS = {m: {"ray"} for m in ("scoring.ray_cluster", "scoring.ray_engine")}


@pytest.mark.parametrize("module", [m for m in FLOW if m.startswith("scoring.")])
def test_scoring_is_on_the_runtime_s_side_of_the_wall(module):
    names = imported(PACKAGE / f"{module.replace('.', '/')}.py")
    outside = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside <= RUNTIME_ALLOWED | {"bloodkeras"} | SCORING_EXTRAS.get(module, set())
    allowed = {m for m in FLOW if m.startswith(("runtime.", "scoring."))}
    assert own(names) <= {"errors", "contract", "interrupts"} | allowed


def run_blocked(code: str) -> subprocess.CompletedProcess:
    """Run Python in which importing any heavy package fails."""
    block = f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\n"
    command = [sys.executable, "-c", block + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent, timeout=60)


def test_the_block_blocks():
    assert "ModuleNotFoundError" in run_blocked("import keras").stderr


def test_the_runtime_and_the_command_line_work_without_the_training_side():
    modules = "bloodkeras.runtime.score, bloodkeras.scoring.command, bloodkeras.__main__"
    code = f"import {modules}; print('imported')"
    assert run_blocked(code).stdout == "imported\n"


def test_predict_and_help_work_without_the_training_side(tmp_path):
    from PIL import Image

    Image.new("RGB", (28, 28), "white").save(tmp_path / "cell.png")
    for words in (["--help"], ["predict", str(tmp_path / "cell.png")]):
        code = f"sys.argv[1:] = {words!r}\nfrom bloodkeras.__main__ import main; main()"
        done = run_blocked(code)
        assert done.returncode == 0, done.stderr
