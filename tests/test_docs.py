"""The docs are a site that asks no other host, and the map of the code tells the truth."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import bloodkeras

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bloodkeras"
MAP = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
# What a browser fetches by itself, and not when somebody clicks.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|data)="([^"]*)"|"""
    r"""<link\b[^>]*\brel="(?:stylesheet|preload|preconnect|icon|dns-prefetch|modulepreload)"[^>]*>""",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = ["build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "true"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_asks_no_other_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 35
    fetched = [
        (page.name, found[0])
        for page in pages
        for found in FETCHED.finditer(page.read_text(encoding="utf-8"))
    ]
    assert len(fetched) > len(pages)
    assert [tag for tag in fetched if re.search(r"""["'=]\s*(?:https?:)?//""", tag[1])] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?https?:", style.read_text(encoding="utf-8")), style


def test_every_page_has_its_place_and_every_module_its_reference(site):
    pages = {path.stem for path in ROOT.glob("docs/*.md")}
    assert pages == {path.stem for path in site.glob("*.html")} - {"404"}
    reference = "".join(p.read_text(encoding="utf-8") for p in site.glob("reference/*.html"))
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        named = [
            f"{module}.{node.name}"
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node)
        ]
        if path.name not in ("__init__.py", "__main__.py"):
            missing = [name for name in named if f'id="{name}"' not in reference]
            assert missing == []


def test_every_page_that_the_code_names_exists():
    named = set()
    for path in [*PACKAGE.rglob("*.py"), *ROOT.glob("exports/*/card.json")]:
        named |= set(re.findall(r"docs/[\w/]+\.md", path.read_text(encoding="utf-8")))
    assert {"docs/photographs.md", "docs/recipes.md"} <= named
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_the_map_names_what_there_is():
    for name in re.findall(r"`((?:bloodkeras/)?[\w/]+\.py)`", MAP):
        assert (ROOT / name).is_file() or (PACKAGE / name).is_file(), name
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/" not in MAP} == set()


def walk(title: str) -> list[tuple[str, str]]:
    """Return (file, function) of the stations of a walk in the map."""
    section = MAP.split(f"## {title}")[1].split("\n## ")[0]
    stations = re.findall(r"^\| \d \| `([\w/]+\.py)` \| `(\w+)` \|", section, re.MULTILINE)
    for file, function in stations:
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in names, f"{file} has no {function}"
    return stations


TRACED = """
import json, os, sys, threading
import bloodkeras
from bloodkeras.__main__ import main
package = os.path.dirname(bloodkeras.__file__) + os.sep  # not a checkout of that name, with .venv
met = []
def watch(frame, event, argument):
    path = frame.f_code.co_filename
    if event == "call" and path.startswith(package):
        place = [path[len(package):].replace(os.sep, "/"), frame.f_code.co_name]
        if place not in met:
            met.append(place)
threading.setprofile(watch)
sys.setprofile(watch)
try:
    main()
finally:
    sys.setprofile(None)
    print(json.dumps(met), file=sys.stderr)
"""


def test_a_photograph_walks_as_the_map_says(tmp_path):
    stations = walk("A photograph, from `predict FILE` to its row")
    files = [file for file, _ in stations]
    assert len(files) == len(set(files)) <= 8
    Image.fromarray(np.full((360, 363, 3), 200, np.uint8)).save(tmp_path / "cell.png")
    done = subprocess.run(
        [sys.executable, "-c", TRACED, "predict", str(tmp_path / "cell.png")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert "cell.png" in done.stdout, done.stderr
    met = [tuple(place) for place in json.loads(done.stderr.splitlines()[-1])]
    places = [met.index(station) for station in stations]
    assert places == sorted(places), [met[place] for place in sorted(places)]


def test_a_field_walks_as_the_map_says():
    stations = walk("A recipe field, from the command line to its layer")
    assert len(stations) == 6
    assert stations[-1] == ("training/augment.py", "build_augmentation")
    from bloodkeras.recipe import override
    from bloodkeras.recipes import RECIPES
    from bloodkeras.training.augment import build_augmentation

    plain, turned = RECIPES["simple"], override(RECIPES["simple"], {"rotation_degrees": "20"})
    names = [[type(layer).__name__ for layer in build_augmentation(r)] for r in (plain, turned)]
    assert names == [[], ["RandomRotation"]]


def test_a_new_model_takes_what_the_map_says(monkeypatch):
    from bloodkeras import recipes
    from bloodkeras.training import models

    section = MAP.split("## A new model in two places")[1].split("\n## ")[0]
    code = [re.sub("^    ", "", block, flags=re.M) for block in section.split("```")[1::2]]
    building, choosing = (block.removeprefix("python\n") for block in code)
    monkeypatch.setattr(recipes, "RECIPES", dict(recipes.RECIPES))
    monkeypatch.setattr(models, "MODELS", dict(models.MODELS))
    space = dict(vars(models))
    exec(building, space)
    models.MODELS["mine"] = space["build_mine"]
    exec(choosing, dict(vars(recipes)))
    model = models.build_model(recipes.named_recipe("mine"))
    assert model.output_shape == (None, 8)
    assert model.count_params() == 3 * 3 * 3 * 32 + 32 + 32 * 8 + 8


def test_a_data_set_is_made_as_the_docs_say(tmp_path):
    text = (ROOT / "docs/data_set.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == code.strip().splitlines()[-1].split("# ")[1]


def test_the_clients_of_the_docs_are_answered(tmp_path):
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (tmp_path / "cell.jpg").write_bytes(drawn_jpeg())
    words = [sys.executable, "-m", "bloodkeras", "serve", "--model", "deeper", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = server.stdout.readline().split(" ")[0].removeprefix("http://")
        assert "127.0.0.1:8080" in code
        done = subprocess.run(
            [sys.executable, "-c", code.replace("127.0.0.1:8080", address)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    finally:
        server.terminate()
        server.communicate()
    assert done.returncode == 0, done.stderr
    assert "labels" in done.stdout
    assert re.search(r"\[b?'(accepted|unsure|foreign)'\]", done.stdout)


def drawn_jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (360, 363), "white").save(file, "JPEG")
    return file.getvalue()


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == bloodkeras.__version__
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(reference["doi"] in readme for reference in citation["references"])


def test_the_forms_and_hooks_can_be_read():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {hook["id"] for hook in hooks["repos"][0]["hooks"]} == {"ruff", "ruff-format", "mypy"}
    forms = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))
    assert len(forms) == 4
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.stem == "config" or {"name", "description", "body"} <= set(form), path
