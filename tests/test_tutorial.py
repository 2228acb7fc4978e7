"""The tutorial is done word for word, from drawn fields to an export, in a real browser.

    python tests/test_tutorial.py docs/figures

takes its pictures.
"""

import csv
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from bloodkeras.labelling.table import Table

TUTORIAL = Path(__file__).parents[1] / "docs/tutorial.md"
NAMED = 24  # cells, by keyboard
KEYS = {"neutrophil": "1", "lymphocyte": "2"}
HEIGHT = 600  # pixels of a field: neutrophils are in its upper half


class Walk:
    """Does what the tutorial says, in a folder."""

    def __init__(self, folder: Path, browser, pictures: Path | None = None) -> None:
        self.folder, self.browser, self.pictures = folder, browser, pictures
        self.said: dict[str, str] = {}  # command line -> what it printed

    def all_steps(self) -> None:
        """Run every block, in order."""
        found = re.findall(r"```(python|bash)\n(.*?)```", TUTORIAL.read_text("utf-8"), re.S)
        for language, block in found:
            if language == "python":
                subprocess.run([sys.executable, "-c", block], cwd=self.folder, check=True)
                continue
            for line in block.splitlines():
                self.step(line)

    def step(self, line: str) -> None:
        """Run a line as if it were typed."""
        if line.startswith("pip install"):
            return
        words = shlex.split(line.removeprefix("python -m "))
        command = [sys.executable, "-m", *words]
        if words[1] == "label":
            self.label(command)
            return
        done = subprocess.run(
            command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        self.said[line] = done.stdout

    def label(self, command: list[str]) -> None:
        """Name cells by keyboard, reload in between, and calibrate."""
        pipe = subprocess.PIPE
        server = subprocess.Popen(
            [*command, "--port", "0"], cwd=self.folder, text=True, stdout=pipe, stderr=pipe
        )
        try:
            address = server.stdout.readline().split(" ")[0]
            page, asked = self.browser.new_page(viewport={"width": 1100, "height": 760}), []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(address)
            truth = self.truth()
            for number in range(NAMED):
                page.locator("[aria-busy=false] [data-label]:enabled").first.wait_for()
                name = page.locator("#name").inner_text()
                self.take(page, "label", number == 6)
                page.keyboard.press(KEYS[truth[name]])
                page.locator("#name", has_not_text=name).wait_for()
                if number == NAMED // 2:
                    page.reload()
            page.locator("#calibrate").click()
            page.locator("#text").wait_for(timeout=120_000)
            self.said["label"] = page.locator("#result").inner_text()
            others = {urlsplit(url).netloc for url in asked if not url.startswith("data:")}
            assert others == {urlsplit(address).netloc}
            page.close()
        finally:
            server.terminate()
            server.communicate()

    def truth(self) -> dict[str, str]:
        """Return {crop: class}, by where in its field the nucleus is."""
        with open(self.folder / "cells/boxes.csv", encoding="utf-8", newline="") as file:
            boxes = list(csv.DictReader(file))
        upper = {box["crop"]: int(box["top"]) + int(box["bottom"]) < HEIGHT for box in boxes}
        return {crop: "neutrophil" if up else "lymphocyte" for crop, up in upper.items()}

    def take(self, page, name: str, wanted: bool = True) -> None:
        """Save what a page shows, where pictures are asked for."""
        if self.pictures and wanted:
            page.screenshot(path=self.pictures / f"tutorial_{name}.png")


@pytest.fixture(scope="module")
def walked(browser, tmp_path_factory) -> Walk:
    """The tutorial, done."""
    walk = Walk(tmp_path_factory.mktemp("tutorial"), browser)
    walk.all_steps()
    return walk


def test_every_cell_is_found(walked):
    """The number that the tutorial says, at the scale that the fields were drawn at."""
    assert len(walked.truth()) == 48
    assert "8 fields, 48 white cells" in walked.said["bloodkeras find fields/ --out cells"]
    scale = float((walked.folder / "cells/microns_per_pixel.txt").read_text())
    assert scale == pytest.approx(0.1, rel=0.1)


def test_before_nothing_is_counted(walked):
    """As the tutorial says."""
    assert "48 foreign" in walked.said["bloodkeras count fields/ --out before"]


def test_what_was_named_is_on_disk_and_right(walked):
    """Through a reload."""
    truth, rows = walked.truth(), Table(walked.folder / "labels.csv").rows
    assert len(rows) == NAMED
    assert all(truth[row.file] == row.label for row in rows)
    assert re.search(rf"Right in >?\d+ % of {NAMED} cells", walked.said["label"])


def test_afterwards_the_cells_have_their_names(walked):
    """Those, too, that nobody named."""
    truth = walked.truth()
    with open(walked.folder / "after/answers.csv", encoding="utf-8", newline="") as file:
        answers = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    right = sum(answers[crop]["label"] == label for crop, label in truth.items())
    assert right >= 46  # of 48
    accepted = sum(answer["verdict"] == "accepted" for answer in answers.values())
    assert accepted >= 24


def test_a_network_was_trained_from_the_export(walked):
    """And published, with where it comes from."""
    card = (walked.folder / "runs/exports/robust/MODEL_CARD.md").read_text("utf-8")
    assert "begun with the weights of robust-64" in card


def take_pictures(out: Path) -> None:
    """Do the tutorial and save what it shows."""
    import shutil

    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        walk = Walk(Path(folder), browser, out)
        walk.all_steps()
        Image.open(Path(folder, "cells-overlays/0.jpg")).save(out / "tutorial_find.png")
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto(Path(folder, "after/differential.html").as_uri())
        walk.take(page, "count")


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
