"""The page in a real browser, and what its server lets nobody else do."""

import csv
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

if sys.platform == "win32":
    pytest.skip("stops servers by Unix' signals", allow_module_level=True)
pytest.importorskip("fastapi", reason="needs the extra label: pip install 'bloodkeras[label]'")
pytest.importorskip("onnx", reason="needs the extra label: pip install 'bloodkeras[label]'")

import psutil

from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import UsageError
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.labelling.server import named_classes

COMMAND = [sys.executable, "-m", "bloodkeras", "label"]
BEGUN = 10  # cells that were labelled before; with twelve more they are enough to calibrate


@pytest.fixture(scope="module")
def drawn_photographs(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A folder of 48 drawn cells, six a class, and {file: class}."""
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    arrays = draw_arrays({"train": 8, "val": 8, "test": 600})
    truth, count = {}, dict.fromkeys(range(8), 0)
    (folder / "slide 1").mkdir(parents=True)
    for image, label in zip(arrays["test_images"], arrays["test_labels"].ravel(), strict=True):
        if count[int(label)] < 6:
            count[int(label)] += 1
            name = f"{'slide 1/' * (len(truth) % 2)}{len(truth):02}.png"
            Image.fromarray(image).save(folder / name)
            truth[name] = CLASS_NAMES[label]
    return folder, truth


@pytest.fixture
def lab(drawn_photographs, tmp_path) -> tuple[Path, dict[str, str]]:
    """A folder of one's own, with those photographs in photos/."""
    folder, truth = drawn_photographs
    shutil.copytree(folder, tmp_path / "photos")
    return tmp_path, truth


def wait_for(look):
    """Return what a function returns, once that is something."""
    for _ in range(1200):
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it does not come")


class Server:
    """`label` in a process of its own, in the laboratory's folder."""

    def __init__(self, folder: Path, *options: str):
        words = ["photos", "--out", "labels.csv", "--port", "0", *options]
        words += [] if "--model" in options else ["--model", "tiny"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*COMMAND, *words], stdout=pipe, stderr=pipe, text=True, cwd=folder
        )
        self.said = self.process.stdout.readline()
        assert self.said, self.process.stderr.read()
        self.address = self.said.split(" ")[0]
        self.port = int(self.address.rsplit(":", 1)[1])

    def ask(self, path, method="GET", body=None, **headers) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, sent)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def post(self, path, body, **headers) -> tuple[int, dict]:
        """Ask as the page does."""
        token = re.search(r'const token = "([^"]+)"', self.ask("/")[2].decode())[1]
        sent = {"x_bloodkeras_token": token} | headers
        status, _, reply = self.ask(path, "POST", json.dumps(body), **sent)
        return status, json.loads(reply)

    def shown(self) -> dict:
        """Return what the page shows."""
        return json.loads(self.ask("/state")[2])

    def state(self) -> dict:
        """Return what the page shows, once a cell is there to be named."""
        return wait_for(lambda: found if (found := self.shown())["cell"] else None)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(lab):
    """A function that starts the server with some options; all are ended after the test."""
    servers = []

    def begin(*options: str) -> Server:
        servers.append(Server(lab[0], *options))
        return servers[-1]

    yield begin
    for server in servers:
        server.kill()


def rows(folder: Path) -> list[list[str]]:
    with open(folder / "labels.csv", encoding="utf-8", newline="") as file:
        return [row[:2] for row in csv.reader(file)][1:]


# --- in the browser -------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, start, lab):
    """The page in a browser; at the end nothing may have been asked of others, or gone wrong."""
    pages = []

    def open_page(server: Server, width=1280, height=900):
        page, asked, wrong = browser.new_page(viewport={"width": width, "height": height}), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(server.address)
        page.locator("[aria-busy=false] [data-label]:enabled").first.wait_for()
        pages.append((page, asked, wrong, urlsplit(server.address)[:2]))
        return page

    yield open_page
    for page, asked, wrong, own in pages:
        page.close()
        assert {urlsplit(url)[:2] for url in asked if not url.startswith("data:")} == {own}
        assert wrong == []


def name_shown(page) -> str:
    return page.locator("#name").inner_text()


def press(page, key: str) -> str:
    """Press a key and wait for what it does; return the photograph that was shown before."""
    before = name_shown(page)
    page.keyboard.press(key)
    page.locator("#name", has_not_text=before).wait_for()
    page.locator("[aria-busy=false] [data-label]:enabled").first.wait_for()
    return before


def test_photographs_in_twelve_cells_by_keyboard_an_export_out(opened, start, lab):
    folder, truth = lab
    begun = [file for k in range(8) for file in list(truth)[k :: len(truth) // 8]][:BEGUN]
    text = "".join(f"{file},{truth[file]}\n" for file in begun)
    (folder / "labels.csv").write_text(f"file,label\n{text}", encoding="utf-8")
    server = start()
    assert f"asks about 48 photographs of photos, {BEGUN} of them labelled" in server.said
    page, named = opened(server), []
    assert page.locator("#calibrate").is_disabled()
    assert "10 more cells" in page.locator("#enough").inner_text()
    for number in range(12):
        file = name_shown(page)
        assert file not in [*begun, *named]
        image = page.locator("#photo")
        assert image.evaluate("image => image.naturalWidth") == 640
        press(page, str(CLASS_NAMES.index(truth[file]) + 1))
        named.append(file)
        assert rows(folder)[BEGUN:] == [[name, truth[name]] for name in named]
        if number == 5:
            page.reload()
            page.locator("[aria-busy=false] [data-label]:enabled").first.wait_for()
    assert f"{48 - BEGUN - 12} left" in page.locator("#left").inner_text()
    counts = dict(zip(CLASS_NAMES, page.locator(".classes .count").all_inner_texts(), strict=True))
    labelled = [label for _, label in rows(folder)]
    assert counts == {name: str(labelled.count(name)) for name in CLASS_NAMES}
    page.locator("#calibrate").click()
    page.locator("#text").wait_for(timeout=120_000)
    result = page.locator("#result").inner_text()
    assert re.search(r"Right in >?\d+ % of 22 cells that the fit had not seen", result)
    assert "labels-calibrated" in result
    card = json.loads((folder / "labels-calibrated/card.json").read_text(encoding="utf-8"))
    assert sum(card["calibrated_on"]["cells"].values()) == 22
    words = shlex.split(page.locator("#text").inner_text().splitlines()[0])
    assert words == ["bloodkeras", "predict", "photos", "--model", "labels-calibrated"]
    done = subprocess.run(
        [*COMMAND[:3], *words[1:], "--format", "csv"], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 49
    page.locator("[data-label]:enabled").first.click()  # and labelling goes on
    page.locator("#left", has_text="25 left").wait_for()


def test_undo_skip_and_not_a_cell_by_keyboard(opened, start, lab):
    folder, page = lab[0], opened(start())
    first = press(page, "s")
    second = press(page, "0")
    third = press(page, "3")
    assert rows(folder) == [[first, "unknown"], [second, "not a cell"], [third, "erythroblast"]]
    press(page, "u")
    assert name_shown(page) == third
    assert rows(folder) == [[first, "unknown"], [second, "not a cell"]]
    press(page, "u")
    assert name_shown(page) == second
    page.keyboard.press("9")  # no class has it
    page.keyboard.press("Control+1")
    page.keyboard.press("x")
    assert press(page, "1") == second
    assert rows(folder) == [[first, "unknown"], [second, "basophil"]]
    page.keyboard.press("b")
    assert not page.locator("#verdict").is_visible()


def test_a_narrow_screen_works(opened, start, lab):
    page = opened(start(), 360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    shown = page.locator("#photo").bounding_box()
    assert shown["width"] > 240
    file = name_shown(page)
    page.get_by_role("button", name="platelet").click()
    page.locator("#name", has_not_text=file).wait_for()
    assert rows(lab[0]) == [[file, "platelet"]]
    for button in page.locator("main button").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        assert box["height"] >= 32  # a thumb


def test_the_page_says_that_label_was_stopped_and_loses_nothing(browser, start, lab):
    server = start()
    page = browser.new_page()
    page.goto(server.address)
    page.locator("[aria-busy=false] [data-label]:enabled").first.wait_for()
    file = press(page, "1")
    server.kill()
    page.keyboard.press("2")
    page.locator("#status.wrong", has_text="label does not answer").wait_for()
    page.close()
    assert rows(lab[0]) == [[file, "basophil"]]
    assert start().state()["last"] == {"name": file, "label": "basophil"}


def test_names_and_classes_cannot_smuggle_anything_into_the_page(opened, start, lab):
    folder, nasty = lab[0], '<img src=x onerror="document.title=1">'
    for path in (folder / "photos").rglob("*.png"):
        path.unlink()
    for number in range(3):
        Image.new("RGB", (28, 28), (200, 60 * number, 99)).save(
            folder / f"photos/{nasty}{number}.png"
        )
    page = opened(start("--classes", "neutrophil,<i>blast</i>"))
    assert nasty in name_shown(page)
    assert "<i>blast</i>" in page.locator(".classes").inner_text()
    press(page, "2")
    assert page.title() == "Blood cells: label"
    assert rows(folder)[0][1] == "<i>blast</i>"


# --- over HTTP ------------------------------------------------------------------------------------


def test_a_killed_server_has_every_answer_on_disk_and_goes_on(start, lab):
    folder, truth = lab
    server = start()
    for _ in range(7):
        cell = server.state()["cell"]
        answer = {"place": cell["place"], "label": truth[cell["name"]]}
        status, found = server.post("/answer", answer)
        assert status == 200
        assert rows(folder)[-1] == [cell["name"], truth[cell["name"]]]
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    again = start().state()
    assert again["counts"] == found["counts"]
    assert again["left"] == 41
    assert again["cell"]["name"] not in [file for file, _ in rows(folder)]


def test_what_the_page_would_not_say_is_refused(start, lab):
    server = start()
    cell = server.state()["cell"]
    good = {"place": cell["place"], "label": "monocyte"}
    for body, status in (
        (good | {"label": "martian"}, 409),
        (good | {"place": 48}, 409),
        (good | {"place": -1}, 409),
        (good | {"place": "0"}, 400),
        (good | {"place": True}, 400),
        (good | {"label": ["monocyte"]}, 400),
        ({"place": 0}, 400),
        ([], 400),
        (good | {"more": "x" * 20_000}, 413),
    ):
        answered, found = server.post("/answer", body)
        assert (answered, found.keys()) == (status, {"error"})
    assert server.post("/undo", {})[0] == 409
    assert server.post("/calibrate", {}) == (
        409,
        {"error": "0 cells of known classes are too few: expected at least 20"},
    )
    assert not (lab[0] / "labels.csv").exists()
    assert server.post("/answer", good)[0] == 200
    assert (
        "answered already, in another window: monocyte" in server.post("/answer", good)[1]["error"]
    )
    assert rows(lab[0]) == [[cell["name"], "monocyte"]]


def test_nobody_else_can_answer_or_look(start, lab):
    """Neither another page in the same browser, nor a name that leads to this machine."""
    server = start()
    body = json.dumps({"place": server.state()["cell"]["place"], "label": "monocyte"})
    assert server.ask("/answer", "POST", body)[0] == 403
    assert server.ask("/answer", "POST", body, x_bloodkeras_token="guessed")[0] == 403
    assert server.post("/answer", json.loads(body), host="evil.example")[0] == 403
    assert server.ask("/", host="evil.example")[0] == 403
    assert server.ask("/photo/0", host="evil.example:80")[0] == 403
    assert server.ask("/", host=f"localhost:{server.port}")[0] == 200
    for path in ("/photo/48", "/photo/-1", "/photo/..%2f..%2fetc%2fpasswd", "/../labels.csv"):
        assert server.ask(path)[0] == 404
    status, headers, jpeg = server.ask("/photo/0")
    assert (status, headers["content-type"], jpeg[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in server.ask("/")[1]["content-security-policy"]
    assert not (lab[0] / "labels.csv").exists()


def test_a_damaged_photograph_is_said_and_not_asked_about(start, lab):
    (lab[0] / "photos/broken.png").write_bytes(b"\x89PNG no more")
    server = start()
    reading = wait_for(lambda: r if (r := server.shown()["reading"])["done"] == 49 else None)
    assert (reading["total"], reading["unreadable"]) == (49, 1)
    assert "broken.png" in reading["errors"][0]


def test_in_random_order_the_network_has_no_say(start, lab):
    """Two networks that believe different things are asked about the same cells."""
    asked = []
    for model in ("tiny", "simple"):
        server = start("--random", "--model", model)
        asked.append([])
        wait_for(lambda server=server: server.shown()["reading"]["done"] == 48)
        for _ in range(8):
            cell = server.state()["cell"]
            asked[-1].append(cell["name"])
            assert server.post("/answer", {"place": cell["place"], "label": "monocyte"})[0] == 200
        server.kill()
        (lab[0] / "labels.csv").unlink()
    assert asked[0] == asked[1]
    assert asked[0] != sorted(asked[0])


def test_a_table_begun_by_hand_is_understood_as_judge_does(start, lab):
    folder, truth = lab
    first, second, third, *_ = truth
    text = f"file,label\n{first},NEU\n{second},0\n{third},unknown\n"
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    server = start()
    found = server.state()
    counts = {name: count for name, count in found["counts"].items() if count}
    assert counts == {"neutrophil": 1, "basophil": 1, "unknown": 1}
    answer = {"place": found["cell"]["place"], "label": "monocyte"}
    assert server.post("/answer", answer)[0] == 200
    assert rows(folder)[:2] == [[first, "neutrophil"], [second, "basophil"]]


def test_new_classes_are_labelled_and_left_out_of_a_calibration(start, lab):
    folder, truth = lab
    known = [f"{file},{label}\n" for file, label in list(truth.items())[:24]]
    strange = [f"{file},blast\n" for file in list(truth)[24:27]]
    text = "".join(["file,label\n", *known, *strange])
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    server = start("--classes", "NEU,lymphocyte,smudge")
    page = server.ask("/")[2].decode()
    keys = re.findall(r'data-label="([^"]+)" data-key="(\d?)"', page)
    assert keys[:3] == [("neutrophil", "1"), ("lymphocyte", "2"), ("smudge", "3")]
    assert "blast" in dict(keys)  # the table has it
    assert "cells of smudge, blast are left out" in server.state()["advice"]
    assert server.post("/calibrate", {})[0] == 200
    made = wait_for(
        lambda: m if (m := server.shown()["calibration"])["status"] != "running" else None
    )
    assert (made["status"], made["cells"], made["left_out"]) == ("done", 24, {"blast": 3})
    assert made["export"] == "labels-calibrated"


def test_a_stop_is_heeded(start):
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        server = start()
        server.process.send_signal(number)
        server.process.communicate(timeout=60)
        assert server.process.returncode == status


def test_a_stop_ends_a_calibration_and_leaves_nothing_of_it(start, lab):
    folder, truth = lab
    text = "".join(f"{file},{label}\n" for file, label in truth.items())
    (folder / "labels.csv").write_text(f"file,label\n{text}", encoding="utf-8")
    server = start()
    assert server.post("/calibrate", {})[0] == 200
    assert server.post("/calibrate", {})[1] == {"error": "a calibration is running"}
    (child,) = wait_for(psutil.Process(server.process.pid).children)
    server.process.terminate()
    server.process.communicate(timeout=60)
    assert server.process.returncode == 0
    assert not child.is_running()
    assert {path.name for path in folder.iterdir()} == {"photos", "labels.csv"}


# --- wrong input ----------------------------------------------------------------------------------


def refused(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, cwd=folder, timeout=120
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["none", "--out", "l.csv"], 1, "none: expected a folder of photographs; there is no such"),
        (["photos/00.png", "--out", "l.csv"], 1, "expected a folder of photographs; it is a file"),
        (["empty", "--out", "l.csv"], 1, "no image in the folder empty"),
        (["damaged", "--out", "l.csv"], 1, "of damaged can be asked about"),
        (["photos", "--out", "l.txt"], 2, "--out l.txt: expected a name that ends in .csv"),
        (["photos", "--out", "none/l.csv"], 1, "cannot write none/l.csv"),
        (
            ["photos", "--out", "other.csv"],
            1,
            "1 of the 2 photographs that other.csv names are not",
        ),
        (["photos", "--out", "twice.csv"], 1, "00.png is there twice, as blast and as neutrophil"),
        (["photos", "--out", "slides.csv"], 1, "slides.csv is there and no table of `label`"),
        (["photos", "--out", "number.csv"], 1, "is labelled 8: expected the name of a class"),
        (["photos", "--out", "l.csv", "--classes", "NEU"], 2, "names neutrophil alone"),
        (["photos", "--out", "l.csv", "--classes", "NEU,neutrophils"], 2, "names neutrophil twice"),
        (
            ["photos", "--out", "l.csv", "--classes", "NEU,unknown"],
            2,
            "--classes unknown: expected",
        ),
        (["photos", "--out", "l.csv", "--classes", "NEU,7"], 2, "--classes 7: expected a name"),
        (["photos", "--out", "l.csv", "--port", "70000"], 2, "--port: expected 0 to 65535"),
        (["photos", "--out", "l.csv", "--host", "no.invalid"], 1, "cannot listen on no.invalid"),
        (["photos", "--out", "l.csv", "--model", "none"], 1, "there is no export none"),
        (["photos", "--out", "l.csv", "--microns-per-pixel", "7"], 2, "microns per pixel are 7"),
        (["photos"], 2, "missing: --out"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_lost(lab, words, status, message):
    folder = lab[0]
    (folder / "empty").mkdir()
    (folder / "damaged").mkdir()
    (folder / "damaged/a\nb.png").write_bytes(b"")
    tables = {
        "other.csv": "file,label\n00.png,neutrophil\nelse.png,neutrophil\n",
        "twice.csv": "file,label\n00.png,blast\n00.png,neutrophil\n",
        "slides.csv": "file,label,slide\n00.png,neutrophil,1\n",
        "number.csv": "file,label\n00.png,8\n",
    }
    for name, text in tables.items():
        (folder / name).write_text(text, encoding="utf-8")
    found, errors = refused(folder, *words)
    assert found == status, errors
    assert message in errors.splitlines()[-1]
    assert errors.splitlines()[-1].startswith("bloodkeras: ")
    assert "Traceback" not in errors
    assert {name: (folder / name).read_text(encoding="utf-8") for name in tables} == tables
    assert not (folder / "l.csv").exists()


def test_classes_are_understood_as_elsewhere():
    assert named_classes("", CLASS_NAMES) == CLASS_NAMES
    assert named_classes(" seg  neutrophils , LYM,blast ", CLASS_NAMES) == (
        "seg neutrophils",
        "lymphocyte",
        "blast",
    )
    with pytest.raises(UsageError, match="at most 40 letters"):
        named_classes(f"neutrophil,{'x' * 41}", CLASS_NAMES)


def test_without_its_packages_the_command_says_what_to_install(tmp_path):
    block = "import importlib.util as u; f = u.find_spec\n"
    block += "u.find_spec = lambda name, *more: None if name == 'fastapi' else f(name, *more)\n"
    words = ["label", str(tmp_path), "--out", str(tmp_path / "l.csv")]
    code = (
        f"import sys\n{block}sys.argv[1:] = {words!r}\nfrom bloodkeras.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 1
    assert "pip install 'bloodkeras[label]'" in done.stderr
    assert done.stderr.count("\n") == 1
