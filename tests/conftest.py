"""Fixtures: drawn cells for every test, the real data where it can be had, and no surprises."""

import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from bloodkeras import contract, progress
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.data.splits import Splits, read_npz
from bloodkeras.images.synthetic import draw_arrays

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A shell lets what it runs in the background ignore Ctrl-C, and the commands tested inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Keep tests that share a costly fixture in one process: a file's, and all of the study's."""
    studied = {item.path for item in items if "study_folder" in item.fixturenames}
    for item in items:
        group = "study" if item.path in studied else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session", autouse=True)
def away_from_the_checkout(tmp_path_factory):
    """Run in an empty folder: what lies in the checkout's own runs/ must not change an answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        patch.setenv("PYTHONPATH", str(ROOT))
        for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # `make test`'s own, not a user's
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def drawn_file(tmp_path_factory) -> Path:
    """Drawn cells as a file in MedMNIST's layout."""
    path = tmp_path_factory.mktemp("drawn") / "drawn.npz"
    np.savez(path, **draw_arrays({"train": 400, "val": 120, "test": 120}))
    return path


@pytest.fixture(scope="session")
def drawn(drawn_file) -> Splits:
    """Drawn cells: 400, 120 and 120 images."""
    return read_npz(drawn_file)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real BloodMNIST file; a test that asks for it is skipped without."""
    named = os.environ.get(contract.DATA_VARIABLE)
    cached = Path(contract.DATA_CACHE).expanduser() / BLOODMNIST.file_name
    path = Path(named) if named else cached
    if not path.is_file():
        pytest.skip(f"needs the real BloodMNIST: set {contract.DATA_VARIABLE}")
    return path


@pytest.fixture(scope="session")
def photographs(real_data) -> Path:
    """A folder `crops` of original photographs with labels.csv beside the real data."""
    folder = real_data.parent / "crops"
    if not (folder / "labels.csv").is_file():
        pytest.skip(f"needs original photographs in {folder.name}/ beside the real data")
    return folder


@pytest.fixture(autouse=True)
def shown():
    """Show what is logged, as the command line does, so that a test can see it."""
    package = logging.getLogger("bloodkeras")
    before = package.handlers, package.level, package.propagate
    progress.show()
    yield
    package.handlers, package.propagate = before[0], before[2]
    package.setLevel(before[1])


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, request):
    """Keep the user's data variable out of the tests that do not ask for real data."""
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv(contract.DATA_VARIABLE, raising=False)


@pytest.fixture(scope="session")
def study_folder(drawn, tmp_path_factory) -> Path:
    """The whole study on drawn cells, a few epochs: runs/ and exports/ below one folder.

    In float32, which every processor is quick in, and the large networks half as wide.
    One of 120 validation images is 0.8 points, so here int8 may lose more than it may elsewhere.
    """
    from functools import partial

    from bloodkeras.export import publish as export
    from bloodkeras.recipe import override
    from bloodkeras.recipes import RECIPES
    from bloodkeras.studies.study import Study

    folder = tmp_path_factory.mktemp("study")
    settings = {"epochs": "4", "batch_size": "20", "norm_momentum": "0.8", "precision": "float32"}
    narrow = {"residual": {"width": "0.5"}, "robust": {"width": "0.5"}}
    recipes = [override(r, settings | narrow.get(name, {})) for name, r in RECIPES.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "quantise", partial(export.quantise, max_fall=0.1))
        Study(drawn, folder / "runs", folder / "exports").everything(recipes)
    return folder


@pytest.fixture(scope="module")
def browser():
    """Return a real browser, without a window; skip where none is installed."""
    reason = "needs playwright, of the group dev"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser that is installed as one of {', '.join(BROWSERS)}")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=options)
        yield browser
        browser.close()
