"""Checks the page of answers: what comes first, what is left out, and that names stay names.

Flow: takes rows made by hand; gives a failure when the page says something else, or could fetch or
run what it should not.
"""

import base64
import errno
import io
import os
import re
from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bloodkeras.answers import html_page as module
from bloodkeras.answers.html_page import Page
from bloodkeras.answers.table import Row
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError


def row(path="a.png", label="monocyte", confidence=0.9, verdict="accepted", foreign=0.0, red=0):
    rest = (1 - confidence) / 7
    probs = [confidence if name == label else rest for name in CLASS_NAMES]
    pixels = np.full((28, 28, 3), (red, 0, 0), np.uint8)
    return Row(path, label, confidence, probs, verdict, "", foreign, pixels)


def error(path="bad.png", text="no image"):
    return Row(path, error=text)


def html_of(tmp_path, rows, unseen=0, card=None) -> str:
    classifier = SimpleNamespace(labels=CLASS_NAMES, card=card or {"model": "tiny"})
    page = Page(str(tmp_path / "page.html"), classifier)
    page.write(rows)
    page.finish(Counter((row.label, row.verdict) for row in rows), unseen)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def shown(html: str) -> list[str]:
    """Return the paths of the pictures, in order."""
    return re.findall(r'<figure [^>]*title="([^&"]*)', html)


def test_foreign_and_unsure_come_first_and_the_most_doubtful_of_each(tmp_path):
    rows = [
        row("sure.png", confidence=0.99),
        row("less.png", confidence=0.95),
        row("baso.png", "basophil", 0.97),
        row("unsure.png", confidence=0.6, verdict="unsure"),
        row("unsurest.png", "basophil", 0.4, "unsure"),
        row("odd.png", confidence=0.99, verdict="foreign", foreign=5.0),
        row("oddest.png", confidence=0.99, verdict="foreign", foreign=9.0),
    ]
    html = html_of(tmp_path, rows)
    assert shown(html) == [
        "oddest.png",
        "odd.png",
        "unsurest.png",
        "unsure.png",
        "baso.png",
        "less.png",
        "sure.png",
    ]
    assert re.findall(r"<h2>(\w+)", html) == ["Foreign", "Unsure", "Basophil", "Monocyte"]


def test_an_answer_in_doubt_says_why(tmp_path):
    doubtful = row("wide.png", verdict="unsure")._replace(error="its cells look <small>")
    html = html_of(tmp_path, [doubtful, row("plain.png", confidence=0.5, verdict="unsure")])
    assert shown(html) == ["plain.png", "wide.png"]
    assert re.findall(r"<span>([^<]*)</span><em>([^<]*)</em>", html) == [
        ("wide.png", "its cells look &lt;small&gt;")
    ]
    assert "could not be read" not in html


def counts_of(html: str) -> dict[str, list[str]]:
    """Return the numbers of the table of counts by what its rows are called."""
    lines = re.findall(r"<tr data-l=.*?</tr>", html, re.DOTALL)
    name = re.compile("<button>(.*)</button>")
    return {name.search(line)[1]: re.findall(r"class=n>([\d,]*)<", line) for line in lines}


def test_classes_are_counted_and_what_is_foreign_under_none_of_them(tmp_path):
    rows = [row(), row(), row(verdict="unsure"), row(label="basophil"), error()]
    html = html_of(
        tmp_path, [*rows, row(verdict="foreign"), row("b.png", "platelet", 1, "foreign")]
    )
    counts = counts_of(html)
    assert list(counts) == [*CLASS_NAMES, "foreign"]
    assert counts["monocyte"] == ["2", "1", "3"]
    assert counts["basophil"] == ["1", "0", "1"]
    assert counts["platelet"] == ["0", "0", "0"]
    assert counts["foreign"] == ["", "", "2"]
    heads = re.search(r"<thead>.*?</thead>", html, re.DOTALL)[0]
    assert re.findall(r"<b>(\d+)</b>", heads) == ["3", "1", "6"]  # accepted, unsure, all
    assert "<h1>7 images" in html
    assert "1 could not be read" in html


def figure_of(html: str) -> str:
    (figure,) = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    return figure


def test_a_foreign_image_is_called_nothing(tmp_path):
    """The verdict stands first; the nearest class is a hint, and no number makes it an answer."""
    html = html_of(tmp_path, [row("odd.png", "eosinophil", 0.996, "foreign", foreign=7.0)])
    figure = figure_of(html)
    assert "<figcaption><b>foreign</b><i>nearest: eosinophil</i><span>odd.png" in figure
    assert 'alt="odd.png: foreign, nearest eosinophil"' in figure
    assert 'data-l="foreign"' in figure  # so that a click on eosinophil does not show it
    assert "%" not in figure
    assert re.findall(r"<h2>(\w+)", html) == ["Foreign"]


@pytest.mark.parametrize(("verdict", "first"), [("unsure", "unsure"), ("accepted", "monocyte")])
def test_every_picture_says_what_it_shows(tmp_path, verdict, first):
    figure = figure_of(html_of(tmp_path, [row("a.png", verdict=verdict)]))
    assert re.search(r"<figcaption><b>(\w+)", figure)[1] == first
    assert "monocyte<s>90%</s>" in figure
    assert f'alt="a.png: {verdict}, monocyte"' in figure


@pytest.mark.parametrize("width", [1200, 390])
def test_no_caption_is_cut(tmp_path, browser, width):
    """The longest name with the longest number, on a desktop and on a phone."""
    rows = [row(f"{name}.png", label=name, confidence=0.999) for name in CLASS_NAMES]
    html_of(tmp_path, rows)
    shown = browser.new_page(viewport={"width": width, "height": 800})
    shown.goto((tmp_path / "page.html").as_uri())
    lines = "[...document.querySelectorAll('figcaption b, figcaption i')]"
    assert shown.evaluate(f"{lines}.length") == 2 * len(CLASS_NAMES)
    cut = f"{lines}.filter(line => line.scrollWidth > line.clientWidth).map(e => e.textContent)"
    assert shown.evaluate(cut) == []
    shown.close()


def test_the_page_is_bounded_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_TILES", 3)
    monkeypatch.setattr(module, "MAX_ERRORS", 2)
    rows = [row(f"{i}.png", confidence=0.9 + i / 1000) for i in (5, 1, 4, 2, 3)]
    html = html_of(tmp_path, rows + [error(f"e{i}.png") for i in range(5)])
    assert shown(html) == ["1.png", "2.png", "3.png"]
    assert "the 3 most doubtful of 5" in html
    assert "and 3 more" in html


def test_equal_doubts_are_no_trouble(tmp_path):
    """Pixels cannot be compared; the first ones are kept, in order."""
    assert shown(html_of(tmp_path, [row(f"{i}.png") for i in range(300)])) == [
        f"{i}.png" for i in range(200)
    ]


class Tags(HTMLParser):
    """Collects what a browser would run or fetch."""

    def __init__(self):
        super().__init__()
        self.found, self.links = Counter(), []

    def handle_starttag(self, tag, attrs):
        self.found[tag] += 1
        self.links += [value for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>.png",
        '"><img src=x onerror=alert(1)>.png',
        "a&lt;b'.png",
        "x\n\x1b[2J.png",
        "zell\udce4.png",
        "</title><b>/#.png",
    ],
)
def test_names_are_escaped(tmp_path, name):
    """A file name is shown, never run, in a picture, its hint or an error."""
    html = html_of(tmp_path, [row(name), row(verdict="unsure"), error(name, f"cannot read {name}")])
    tags = Tags()
    tags.feed(html)
    assert tags.found["script"] == 1
    assert tags.found["img"] == tags.found["figure"] == 2
    assert name.replace("&", "&amp;") in html or name not in html


def test_the_page_needs_nothing_else(tmp_path):
    """No address but data in it, and a policy that allows no other."""
    html = html_of(tmp_path, [row(), row(verdict="unsure")])
    tags = Tags()
    tags.feed(html)
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src 'none'" in html
    assert not tags.found.keys() & {"link", "iframe", "object"}


def test_pictures_are_the_pixels(tmp_path):
    html = html_of(tmp_path, [row(red=77)])
    png = base64.b64decode(re.search(r"base64,([^\"]+)", html).group(1))
    with Image.open(io.BytesIO(png)) as image:
        assert np.array_equal(np.asarray(image), row(red=77).pixels)


def test_what_it_cannot_show_is_said(tmp_path):
    html = html_of(tmp_path, [row()], unseen=512, card={"training_data": {"synthetic": True}})
    assert "The first 512 were answered before an interruption" in html
    assert "drawn cells" in html


@pytest.mark.parametrize("place", ["missing/x.html", "folder", "."])
def test_an_unwritable_place_is_refused_at_once(tmp_path, place):
    """Not after a night of work."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(BloodkerasError, match="cannot write"):
        Page(str(tmp_path / place), SimpleNamespace(labels=CLASS_NAMES, card={}))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    page = Page(str(tmp_path / "x.html"), SimpleNamespace(labels=CLASS_NAMES, card={}))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Page, "_html", full)
    with pytest.raises(BloodkerasError, match="No space left"):
        page.finish(Counter())
    assert list(tmp_path.iterdir()) == []
