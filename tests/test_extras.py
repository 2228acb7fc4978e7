"""Each extra is whole: it installs what the code of its command imports. Offline, by AST."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from test_imports import PACKAGE, imported, own, run_blocked

from bloodkeras.__main__ import COMMANDS
from bloodkeras.cli.command_line import EXTRAS
from bloodkeras.errors import missing_package

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
# Of the optional packages, those that some options of a command need.
FOR_OPTIONS = {"predict": ["parquet"], "score": ["parquet", "ray"]}
# They write no Parquet, though they share code with who does.
NOT_COME_TO = {
    "judge": {"pyarrow"},
    "calibrate": {"pyarrow"},
    "find": {"pyarrow"},
    "count": {"pyarrow"},
    "label": {"pyarrow"},
    "agree": {"pyarrow"},
}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "markdown_it": "markdown-it-py",
    "keras_tuner": "keras-tuner",
    "grpc": "grpcio",
    "prometheus_client": "prometheus-client",
    "urllib3": "requests",  # requests is made of it
    "starlette": "fastapi",  # FastAPI is made of these two
    "pydantic": "fastapi",
}
# Compared with where they are installed; asked for by name where they are not.
NEVER_REQUIRED = {"torch", "openvino", "tensorboard"}


def extras_of(command: str) -> list[str]:
    return FOR_OPTIONS.get(command) or [EXTRAS.get(command, "train")]


def installed_by(extras: list[str]) -> set[str]:
    """Return the names of what `pip install 'bloodkeras[EXTRAS]'` asks for."""
    optional = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *(line for e in extras for line in optional[e])]
    names = set()
    for line in asked:
        name, among = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", line).groups()
        names |= installed_by(among.split(",")) if name == "bloodkeras" else {name}
    return names


def modules_of(command: str) -> set[str]:
    """Return the modules of this package that a command can come to."""
    functions = {}
    for module in (COMMANDS[command].__module__.removeprefix("bloodkeras."), "cli.opening"):
        tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
        functions |= {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    reached, new = set(), {COMMANDS[command].__name__}
    while new:  # a command's own imports, and those of what it calls in cli/
        reached |= new
        nodes = [node for name in new for node in ast.walk(functions[name])]
        called = {node.id for node in nodes if isinstance(node, ast.Name)} & set(functions)
        new = {name for name in called if name not in COMMANDS} - reached
    found, new = set(), own(imported_by(ast.Module([functions[name] for name in reached], [])))
    while new:
        found |= new
        new = {m for module in new for m in own(imported(path_of(module)))} - found
    return found


def imported_by(tree: ast.Module) -> set[str]:
    """Return what some code imports, as `imported` does of a file."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


def packages_of(command: str) -> set[str]:
    """Return the distributions that a command's modules import, at any time."""
    modules = {name for module in modules_of(command) for name in imported(path_of(module))}
    names = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names)
    return {DISTRIBUTIONS.get(name, name) for name in names - {"bloodkeras"} - NEVER_REQUIRED}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_s_extra_has_all_that_its_code_imports(command):
    needed = packages_of(command) - NOT_COME_TO.get(command, set())
    assert needed - installed_by(extras_of(command)) == set()


def test_the_walk_finds_what_is_known():
    assert {"onnxruntime", "numpy", "pillow"} < packages_of("predict")
    assert "onnx" in packages_of("calibrate")
    assert {"tensorflow", "tf2onnx"} < packages_of("train")  # `study.py` exports too
    assert "tensorflow" not in packages_of("score") | packages_of("demo") | packages_of("serve")
    assert "grpcio" in packages_of("tune")
    assert {"numpy", "fire", "tensorflow"} < installed_by(["tune"])


def test_all_has_everything():
    optional = PROJECT["project"]["optional-dependencies"]
    assert installed_by(["all"]) == installed_by(list(optional))


def test_every_extra_that_is_named_exists():
    optional = PROJECT["project"]["optional-dependencies"]
    named = {e for command in COMMANDS for e in extras_of(command)}
    root = PACKAGE.parent
    for path in [*PACKAGE.rglob("*.py"), *root.glob("*.md"), *root.glob("docs/*.md")]:
        text = path.read_text(encoding="utf-8")
        assert "install '.[" not in text, path  # a checkout's: nobody has one who installed a wheel
        for among in re.findall(r"bloodkeras\[([\w,]+)\]", text):
            named |= set(among.split(","))
    assert {"calibrate", "train", "ray", "parquet", "tune", "serve", "demo", "find"} <= named
    assert named <= set(optional)


def test_every_missing_package_is_told_with_an_extra():
    optional = PROJECT["project"]["optional-dependencies"]
    told = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "missing_package":
                told[f"{path.name}:{node.lineno}"] = ast.unparse(node.args[1]).strip("'\"")
    assert len(told) > 8
    known = {
        *optional,
        "EXTRAS.get(name, 'train')",  # command_line's, any command
        "extra",  # answering's
    }
    assert {place: extra for place, extra in told.items() if extra not in known} == {}


@pytest.mark.parametrize("words", [["evaluate", "tiny"], ["shifts", "tiny"], ["compare", "a", "b"]])
def test_a_plain_install_is_told_the_extra_by_commands_that_need_no_tensorflow(words):
    code = f"sys.argv[1:] = {words!r}\nfrom bloodkeras.__main__ import main; main()"
    done = run_blocked(code)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install 'bloodkeras[train]'" in done.stderr


def test_the_message_names_the_installed_package():
    assert str(missing_package("onnx", "calibrate")) == (
        "this step needs onnx, which is not installed: run `pip install 'bloodkeras[calibrate]'`"
    )
