"""Cells are cut out of fields: crops, table, what is said, and what an interruption costs."""

import csv
from pathlib import Path

import numpy as np
import pytest
from drawn_field import ROUND, THREE_LOBES, whole
from PIL import Image, ImageFilter

pytest.importorskip("skimage", reason="needs scikit-image, of the extra find")

from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.fields import find
from bloodkeras.fields.boxes import Box, Boxes, Stems, read_boxes
from bloodkeras.fields.find import conclude, find_cells_in
from bloodkeras.images.folder import SCALE_FILE, looks_like_image
from bloodkeras.images.framing import Framing
from bloodkeras.images.scale import scaled
from bloodkeras.images.sources import read_file

TWO = [(25.0, 20.0, ROUND), (62.0, 38.0, THREE_LOBES)]


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> Path:
    """Three fields, with two white cells, none, and one that is cut."""
    folder = tmp_path_factory.mktemp("fields")
    for name, cells in {"a": TWO, "b": [], "c": [(2.0, 30.0, ROUND)]}.items():
        whole(cells).save(folder / f"{name}.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_crops_are_the_field_s_own_pixels_with_their_scale(fields, tmp_path, capsys):
    out = tmp_path / "cells"
    tally = find_cells_in([str(fields)], str(out))
    conclude(tally, "cells")
    said = capsys.readouterr()
    assert said.out == "3 fields, 3 white cells into cells, 1 of them cut by a field's edge\n"
    assert "b.png: no white cell" in said.err
    rows = read_boxes(out)
    assert [row.crop for row in rows] == ["a-1.png", "a-2.png", "", "c-1.png"]
    assert [row.at_edge for row in rows] == ["no", "no", "", "yes"]
    for row in filter(lambda row: row.crop, rows):
        field, crop = (np.asarray(Image.open(p)) for p in (row.field, out / row.crop))
        left, top = int(row.crop_left), int(row.crop_top)
        assert np.array_equal(crop, field[top : top + len(crop), left : left + len(crop)])
    x, y = (
        (int(rows[0].left) + int(rows[0].right)) / 2,
        (int(rows[0].top) + int(rows[0].bottom)) / 2,
    )
    assert (x, y) == (pytest.approx(250, abs=8), pytest.approx(200, abs=8))
    framing = scaled([str(out)], Framing())
    assert framing.microns_per_pixel == pytest.approx(0.1, rel=0.12)
    (_, pixels), *_ = read_file(str(out / "a-1.png"), framing)
    assert pixels[14, 14, 0] < 120 < pixels[14, 26, 0]  # the nucleus in the middle, glass beside
    assert {path.name for path in Path(f"{out}-overlays").iterdir()} == {"a.jpg", "b.jpg", "c.jpg"}


def test_no_picture_lies_among_the_crops_but_crops(fields, tmp_path):
    find_cells_in([str(fields)], str(tmp_path / "cells"))
    images = {name for name in contents(tmp_path / "cells") if looks_like_image(name)}
    assert images == {"a-1.png", "a-2.png", "c-1.png"}


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_an_interrupted_job_ends_with_the_same_bytes(fields, tmp_path, monkeypatch, stop_at):
    find_cells_in([str(fields)], str(tmp_path / "whole"))
    written, write = [], find.replace_file

    def stops(path, content):
        written.append(path)
        if len(written) == stop_at:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(find, "replace_file", stops)
    with pytest.raises(KeyboardInterrupt):
        find_cells_in([str(fields)], str(tmp_path / "cells"))
    monkeypatch.setattr(find, "replace_file", write)
    tally = find_cells_in([str(fields)], str(tmp_path / "cells"), resume=True)
    assert tally["fields"] == 3
    assert contents(tmp_path / "cells") == contents(tmp_path / "whole")
    assert contents(tmp_path / "cells-overlays") == contents(tmp_path / "whole-overlays")


def test_a_torn_row_is_made_again(fields, tmp_path):
    find_cells_in([str(fields)], str(tmp_path / "cells"))
    table = tmp_path / "cells/boxes.csv"
    content = table.read_bytes()
    for end in (len(content), len(content) - 5, content.index(b"a-2.png"), 10, 0):
        table.write_bytes(content[:end])
        find_cells_in([str(fields)], str(tmp_path / "cells"), resume=True)
        assert table.read_bytes() == content


def test_what_is_there_is_not_written_over(fields, tmp_path):
    find_cells_in([str(fields)], str(tmp_path / "cells"))
    before = contents(tmp_path / "cells")
    with pytest.raises(BloodkerasError, match="holds something already: go on with --resume"):
        find_cells_in([str(fields)], str(tmp_path / "cells"))
    with pytest.raises(BloodkerasError, match="begun with microns per pixel"):
        find_cells_in([str(fields)], str(tmp_path / "cells"), 0.2, resume=True)
    with pytest.raises(UsageError, match="lies in"):
        find_cells_in([str(fields)], str(fields / "cells"))
    assert contents(tmp_path / "cells") == before
    assert not (fields / "cells").exists()


def test_every_bad_field_is_one_row_and_the_good_ones_are_done(fields, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = whole(TWO)
    good.save(folder / "good.png")
    good.filter(ImageFilter.GaussianBlur(8)).save(folder / "blurred.png")
    good.crop((150, 100, 350, 300)).save(folder / "crop.png")
    good.resize((90, 60)).save(folder / "tiny.png")
    Image.new("RGB", (900, 600), "white").save(folder / "blank.png")
    (folder / "text.png").write_text("no image", encoding="utf-8")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:5000])
    tally = find_cells_in([str(folder)], str(tmp_path / "cells"), 0.1)
    with pytest.raises(BloodkerasError, match="5 of 7 images were left out"):
        conclude(tally, str(tmp_path / "cells"))
    rows = {Path(row.field).stem: row for row in read_boxes(tmp_path / "cells")}
    reasons = {
        "blank": "nothing in it is stained",
        "crop": "a single cell's photograph",
        "tiny": "60 pixels across are no field",
        "text": "is not an image",
        "cut": "cannot read",
    }
    for name, reason in reasons.items():
        assert reason in rows[name].error
        assert not rows[name].crop
    assert "out of focus" in rows["blurred"].remark
    assert rows["blurred"].crop == "blurred-2.png"
    assert (rows["good"].remark, rows["good"].error) == ("", "")
    said = capsys.readouterr().err.splitlines()
    assert all(sum(reason in line for line in said) == 1 for reason in reasons.values())


def test_a_list_on_standard_input_needs_the_scale(fields, tmp_path):
    with pytest.raises(UsageError, match="the scale must be known: give --microns-per-pixel"):
        find_cells_in(["-"], str(tmp_path / "cells"))


def test_pages_are_fields(tmp_path):
    pages = [whole(TWO), whole([])]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    find_cells_in([str(tmp_path / "stack.tif")], str(tmp_path / "cells"), 0.1)
    rows = read_boxes(tmp_path / "cells")
    assert [row.crop for row in rows] == ["stack#0-1.png", "stack#0-2.png", ""]


def test_fields_of_one_name_in_two_folders_keep_apart(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        whole(TWO).save(tmp_path / name / "x.png")
    find_cells_in([str(tmp_path / "one"), str(tmp_path / "two")], str(tmp_path / "cells"), 0.1)
    crops = [row.crop for row in read_boxes(tmp_path / "cells")]
    assert crops == ["x-1.png", "x-2.png", "x_2-1.png", "x_2-2.png"]
    kept = [Box("one/x.png", "x-1.png"), Box("two/X.png")]
    assert Stems(kept).name("three/x.tif#4") == "x#4"
    assert Stems(kept).name("three/x.tif") == "x_3"


def test_another_table_is_refused(tmp_path):
    with open(tmp_path / "boxes.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["file", "label"], ["a.png", "monocyte"]])
    with pytest.raises(BloodkerasError, match="has another header"):
        Boxes(tmp_path, resume=True)
    assert (tmp_path / "boxes.csv").read_text(encoding="utf-8").startswith("file,label")


def test_the_scale_beside_the_fields_counts(fields, tmp_path, capsys):
    (fields / SCALE_FILE).write_text("0.11\n", encoding="utf-8")
    try:
        find_cells_in([str(fields)], str(tmp_path / "cells"))
    finally:
        (fields / SCALE_FILE).unlink()
    assert (tmp_path / "cells" / SCALE_FILE).read_text(encoding="utf-8") == "0.11\n"
    assert f"0.11 micrometres a pixel, by {SCALE_FILE}" in capsys.readouterr().err
