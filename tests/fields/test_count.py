"""`count` on drawn fields, and its page in a real browser: a click corrects, numbers follow."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_field import ROUND, THREE_LOBES, whole
from PIL import Image

pytest.importorskip("skimage", reason="needs scikit-image, of the extra find")

from bloodkeras.answers.page_style import NO_DEVICE
from bloodkeras.answers.spreadsheet import parse_rows, read_text
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.fields import count_page
from bloodkeras.fields.count import count_cells
from bloodkeras.fields.count_page import render
from bloodkeras.fields.differential import Named
from bloodkeras.images.framing import Framing
from bloodkeras.laboratory.judge import wilson
from bloodkeras.laboratory.labels import find_files, read_table

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "exports/tiny")
TOLD = [  # label, verdict, at the edge
    *[("neutrophil", "accepted", False)] * 3,
    ("lymphocyte", "accepted", False),
    ("monocyte", "unsure", False),
    ("monocyte", "foreign", False),
    ("erythroblast", "accepted", False),
    ("lymphocyte", "accepted", True),
]


@pytest.fixture
def cells() -> list[Named]:
    return [
        Named(f'a,"<b>-{n}.png', "a.jpg", label, 0.9 - n / 100, verdict, at_edge)
        for n, (label, verdict, at_edge) in enumerate(TOLD, 1)
    ]


@pytest.fixture
def page(cells, tmp_path) -> Path:
    """A page of eight cells in one field, whose name is as unkind as a name can be."""
    crops, pictures = tmp_path / "cells", tmp_path / "cells-overlays"
    crops.mkdir()
    pictures.mkdir()
    for cell in cells:
        Image.new("RGB", (270, 270), "pink").save(crops / cell.crop)
    Image.new("RGB", (640, 480), "white").save(pictures / 'a,"<b>.jpg')
    parts = render(cells, CLASS_NAMES, "tiny", Framing(0.1), (crops, pictures))
    (tmp_path / "page.html").write_text("".join(parts), encoding="utf-8")
    return tmp_path / "page.html"


def numbers(tab) -> dict[str, list[str]]:
    rows = tab.locator("tr[data-l]").all()
    return {
        row.get_attribute("data-l"): [cell.text_content() for cell in row.locator("td").all()]
        for row in rows
    }


def interval(hits: int, of: int) -> str:
    return " to ".join(f"{end:.1%}" for end in wilson(hits, of))


def test_the_page_needs_no_other_file_and_says_what_it_is(page):
    html = page.read_text(encoding="utf-8")
    assert NO_DEVICE in html
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|<b>-1", html.replace("http-equiv", ""))
    assert html.count("<figure") == len(TOLD) + 1
    assert 'data-l="at the edge"' in html


def test_a_click_names_a_cell_and_the_numbers_follow(page, browser, tmp_path):
    tab = browser.new_page()
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(page.as_uri())
    assert numbers(tab)["neutrophil"] == ["3", "75.0%", interval(3, 4)]
    assert numbers(tab)["monocyte"] == ["0", "0.0%", interval(0, 4)]
    tab.locator("section[data-l=unsure] figure").click()
    tab.locator("#chooser button", has_text="monocyte").click()
    assert numbers(tab)["monocyte"] == ["1", "20.0%", interval(1, 5)]
    assert numbers(tab)["neutrophil"] == ["3", "60.0%", interval(3, 5)]
    assert tab.locator("#total").text_content() == "5"
    assert tab.locator("section[data-l=unsure]").is_hidden()
    assert tab.locator("section[data-l=monocyte] figure em").text_content() == "you: monocyte"
    assert "5\N{NO-BREAK SPACE}monocyte" in tab.locator(".fields figcaption").text_content()
    tab.locator("section[data-l=foreign] button").click()  # all by their nearest class
    assert numbers(tab)["monocyte"] == ["2", "33.3%", interval(2, 6)]
    assert tab.locator("#red").text_content().startswith("16.7 for every 100 white cells")
    tab.locator("section[data-l=lymphocyte] figure").click()
    tab.locator("#chooser button", has_text="none of these").click()
    assert numbers(tab)["lymphocyte"][0] == "0"
    with tab.expect_download() as download:
        tab.locator("#save").click()
    table = tmp_path / "labels.csv"
    download.value.save_as(table)
    places = read_table(table, CLASS_NAMES)
    assert sorted(CLASS_NAMES[place] for place in places.values()) == [
        "erythroblast",
        *["monocyte"] * 2,
        *["neutrophil"] * 3,
    ]
    assert len(find_files(tmp_path / "cells", table, places)) == 6
    assert said == []


def test_what_was_chosen_can_be_taken_back_from_the_keyboard(page, browser):
    tab = browser.new_page()
    tab.goto(page.as_uri())
    tab.locator("section[data-l=unsure] figure").focus()
    tab.keyboard.press("Enter")
    tab.locator("#chooser button", has_text="basophil").click()
    assert numbers(tab)["basophil"][0] == "1"
    tab.locator("section[data-l=basophil] figure").focus()
    tab.keyboard.press("Enter")
    tab.locator("#chooser button", has_text="as it was").click()
    assert numbers(tab)["basophil"][0] == "0"
    assert tab.locator("section[data-l=unsure] figure").is_visible()


def test_cells_that_are_not_shown_count_all_the_same(cells, page, browser, monkeypatch):
    monkeypatch.setattr(count_page, "MOST_CELLS", 3)
    folders = page.parent / "cells", page.parent / "cells-overlays"
    page.write_text("".join(render(cells, CLASS_NAMES, "tiny", Framing(0.1), folders)), "utf-8")
    tab = browser.new_page()
    tab.goto(page.as_uri())
    assert tab.locator(".tiles figure").count() == 3
    tab.locator("section[data-l=unsure] figure").click()
    tab.locator("#chooser button", has_text="neutrophil").click()
    assert numbers(tab)["neutrophil"] == ["4", "80.0%", interval(4, 5)]


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    for name, x in (("a", 45.0), ("b", 1.0)):
        whole([(x, 20.0, ROUND), (62.0, 38.0, THREE_LOBES)]).save(folder / f"{name}.png")
    return folder


def test_count_leaves_all_that_it_says(fields, tmp_path, capsys):
    out = tmp_path / "count"
    count_cells([str(fields)], str(out), TINY, microns_per_pixel=0.1)
    said = capsys.readouterr().out
    assert "Not a medical device" in said
    assert said.endswith("1 of them cut by a field's edge\n")
    assert re.search(r"at the edge +1 ", said)
    rows = parse_rows(read_text(out / "differential.csv"), out / "d.csv", ("class",))
    assert [cells for _, cells in rows] == [
        [name] for name in CLASS_NAMES if name not in ("erythroblast", "platelet")
    ]
    assert {path.name for path in out.iterdir()} == {
        "answers.csv",
        "answers.csv.origin.json",
        "cells",
        "cells-overlays",
        "differential.csv",
        "differential.html",
    }
    page = (out / "differential.html").read_bytes()
    with pytest.raises(BloodkerasError, match="holds something already"):
        count_cells([str(fields)], str(out), TINY, microns_per_pixel=0.1)
    count_cells([str(fields)], str(out), TINY, resume=True, microns_per_pixel=0.1)
    assert (out / "differential.html").read_bytes() == page


def test_wrong_options_are_refused_before_a_field_is_read(fields, tmp_path):
    with pytest.raises(UsageError, match="neutrofil"):
        count_cells([str(fields)], str(tmp_path / "count"), TINY, classes="neutrofil")
    assert not (tmp_path / "count").exists()


def test_fields_without_white_cells_are_no_failure(tmp_path, capsys):
    whole([]).save(tmp_path / "a.png")
    count_cells([str(tmp_path / "a.png")], str(tmp_path / "count"), TINY, microns_per_pixel=0.1)
    said = capsys.readouterr()
    assert said.out.startswith("1 field, 0 white cells")
    assert "no white cell was found" in said.err


def test_without_scikit_image_one_line_says_what_to_install(fields):
    code = (
        "import sys; sys.modules['skimage'] = sys.modules['scipy'] = None\n"
        f"sys.argv[1:] = ['find', {str(fields)!r}, '--out', 'cells']\n"
        "from bloodkeras.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "pip install 'bloodkeras[find]'" in done.stderr


def test_a_network_sees_the_nucleus_in_the_middle(fields, tmp_path):
    count_cells([str(fields / "a.png")], str(tmp_path / "count"), TINY, microns_per_pixel=0.1)
    crop = np.asarray(Image.open(tmp_path / "count/cells/a-1.png"))
    middle = crop[len(crop) // 2, len(crop) // 2]
    assert middle[0] < 120
