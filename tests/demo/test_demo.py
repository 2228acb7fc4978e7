"""The page in a real browser: a photograph in, the right label out, and nothing from elsewhere."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

if sys.platform == "win32":
    pytest.skip("stops servers by Unix' signals", allow_module_level=True)
pytest.importorskip("gradio", reason="needs the extra demo: pip install 'bloodkeras[demo]'")
pytest.importorskip("playwright", reason="needs playwright, of the group dev")
import psutil

from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import FOREIGN, VERDICTS
from bloodkeras.demo.explain import MEANING, Explained, Explainer
from bloodkeras.demo.tile import tile
from bloodkeras.images.synthetic import draw_arrays

EXPORTS = Path(__file__).parents[2] / "exports"
COMMAND = [sys.executable, "-m", "bloodkeras", "demo"]


def start(*options: str) -> tuple[subprocess.Popen, str]:
    """Start a page in a process of its own; return it and the address that it says."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return process, line.split(" ")[0]


@pytest.fixture(scope="module")
def address():
    process, address = start("--model", "tiny")
    yield address
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture
def page(browser, address):
    """The page, opened; at the end nothing may have been asked of others, or gone wrong."""
    asked, wrong = set(), []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("request", lambda request: asked.add(urlsplit(request.url)[:2]))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.get_by_text("Nothing to show yet").wait_for()
    yield page
    page.close()
    own = urlsplit(address)[:2]
    assert {part for part in asked if part[0] not in ("data", "blob")} == {own}
    assert wrong == []


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[Path]:
    """Drawn cells as files, small and large."""
    folder = tmp_path_factory.mktemp("photographs")
    images = draw_arrays({"train": 8, "val": 8, "test": 12})["test_images"]
    files = [folder / "small.png", folder / "large.jpg"]
    Image.fromarray(images[0]).save(files[0])
    Image.fromarray(images[1]).resize((200, 200)).save(files[1], quality=95)
    return files


def test_photographs_in_labels_out(page, photographs):
    page.set_input_files("#photographs input[type=file]", [str(path) for path in photographs])
    page.locator(".tile").nth(1).wait_for()
    tiles = page.locator(".tile").all()
    answers = Classifier.load(EXPORTS / "tiny").predict(photographs)
    for shown, answer, path in zip(tiles, answers, photographs, strict=True):
        assert shown.locator("h3").inner_text().removeprefix("Nearest class: ") == answer.label
        assert shown.locator(".verdict").inner_text() == answer.verdict
        assert shown.locator(".file").inner_text() == path.name
        shares = [float(text.rstrip("%")) for text in shown.locator(".probs b").all_inner_texts()]
        assert shares == pytest.approx(sorted(100 * answer.probs, reverse=True), abs=0.06)
        for image in shown.locator("img").all():
            assert image.evaluate("image => image.naturalWidth") == 224


def test_an_example_is_answered(page):
    page.locator("#examples button img").first.click()
    page.locator(".tile h3").wait_for()
    assert page.locator(".tile .file").inner_text().startswith("drawn-0")


def test_a_file_that_is_no_image_is_one_line(page, photographs, tmp_path):
    (tmp_path / "broken.png").write_bytes(photographs[0].read_bytes()[:100])
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    (tmp_path / "empty.png").touch()
    files = [*sorted(tmp_path.glob("*.png")), photographs[0]]
    page.set_input_files("#photographs input[type=file]", [str(path) for path in files])
    page.locator(".tile").nth(3).wait_for()
    errors = page.locator(".tile.error").all_inner_texts()
    assert len(errors) == 3
    for text, name in zip(errors, ("broken.png", "empty.png", "text.png"), strict=True):
        assert name in text
        assert "\n" not in text
        assert str(tmp_path) not in text
        assert "Traceback" not in text
    assert page.locator(".tile h3").count() == 1


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "bloodkeras: stopped by Ctrl-C\n")],
)
def test_a_stop_is_heeded(number, status, words):
    process, _ = start("--model", "tiny")
    assert psutil.Process(process.pid).children() == []  # whoever kills it leaves nothing
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, words)


def test_an_open_door_is_said():
    process, _ = start("--model", "tiny", "--host", "0.0.0.0")
    process.terminate()
    assert "can be reached from other machines" in process.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--model", "exports/none"], 1, "exports/none"),
        (["--model", "tiny", "--classes", "hepatocyte"], 2, "hepatocyte"),
        (["--model", "tiny", "--prior", "estimate"], 2, "--prior estimate is for `predict`"),
        (["--port", "70000"], 2, "--port: expected 0 to 65535, found 70000"),
        (["--host", "nowhere.invalid", "--port", "0"], 1, "cannot listen on nowhere.invalid"),
    ],
)
def test_a_wrong_option_is_one_line(options, status, words):
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [*COMMAND, "--model", "tiny", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_the_page_asks_as_the_options_say(photographs):
    own = Classifier.load(EXPORTS / "tiny")
    how = {"classes": "platelet", "microns_per_pixel": 0.2, "views": True}
    for photograph in photographs[:2]:
        found = Explainer(str(EXPORTS / "tiny"), **how).explain(photograph)
        (expected,) = own.predict(photograph, ["platelet"], 0.2, views=True)
        assert found.label == expected.label == "platelet"
        assert dict(found.probs)["platelet"] == pytest.approx(1)
        assert found.verdict == expected.verdict


def test_names_cannot_smuggle_anything_into_the_page(photographs):
    found = Explainer(str(EXPORTS / "tiny")).explain(photographs[1])
    assert "<script>" not in tile(dataclasses.replace(found, name="<script>.png"))
    assert "<script>" not in tile(Explained("x", "cannot read <script>.png"))
    assert MEANING[found.verdict] in tile(found)
    assert re.findall('alt="([^"]*)"', tile(found)) == [
        "What the network sees of large.jpg",
        f"What spoke for {found.label} in large.jpg",
    ]
    assert len(re.findall("data:image/png;base64,", tile(found))) == 2
    assert found.looked.max() == pytest.approx(1)
    assert np.isclose(sum(prob for _, prob in found.probs), 1, atol=1e-5)


def test_the_verdict_stands_first_and_a_foreign_image_is_called_nothing(photographs):
    found = Explainer(str(EXPORTS / "tiny")).explain(photographs[1])
    for verdict in VERDICTS:
        shown = tile(dataclasses.replace(found, verdict=verdict))
        assert f"<h3>{found.label}</h3>" in shown or verdict == FOREIGN
        assert shown.index(f">{verdict}</span>") < shown.index("<h3")
    assert f"<h3 class=hint>Nearest class: {found.label}</h3>" in shown
    assert "probs hint" in shown
    assert found.trust not in shown  # it is said of cells like those of the training data
