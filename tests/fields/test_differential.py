"""A differential counts what it should, and says how sure each share is."""

from collections import Counter

import pytest

from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.fields.differential import (
    EDGE,
    Named,
    describe_red,
    nucleated_red,
    render_text,
    shares,
)


def cells(count: int, label: str, verdict: str = "accepted", at_edge: bool = False) -> list[Named]:
    return [Named(f"{label}-{n}.png", "f.jpg", label, 0.9, verdict, at_edge) for n in range(count)]


BLOOD = [
    *cells(60, "neutrophil"),
    *cells(30, "lymphocyte"),
    *cells(10, "monocyte"),
    *cells(5, "erythroblast"),
    *cells(2, "platelet"),
    *cells(4, "monocyte", "unsure"),
    *cells(3, "neutrophil", "foreign"),
    *cells(7, "lymphocyte", at_edge=True),
]


def test_only_white_cells_with_a_name_are_counted():
    groups = Counter(cell.group() for cell in BLOOD)
    found = {one.label: one for one in shares(groups, CLASS_NAMES)}
    assert not {"erythroblast", "platelet"} & set(found)
    assert (found["neutrophil"].cells, found["neutrophil"].share) == (60, 0.6)
    assert found["basophil"].cells == 0
    # Wilson's intervals of 60, 30 and 0 of 100, as tables have them.
    assert (found["neutrophil"].low, found["neutrophil"].high) == pytest.approx(
        (0.5020, 0.6906), abs=1e-4
    )
    assert (found["lymphocyte"].low, found["lymphocyte"].high) == pytest.approx(
        (0.2189, 0.3958), abs=1e-4
    )
    assert (found["basophil"].low, found["basophil"].high) == pytest.approx((0, 0.0370), abs=1e-4)
    assert (groups["unsure"], groups["foreign"], groups[EDGE]) == (4, 3, 7)


def test_cells_at_the_edge_count_if_that_is_asked_for():
    groups = Counter(cell.group(edge=True) for cell in BLOOD)
    assert (groups["lymphocyte"], groups[EDGE]) == (37, 0)


def test_erythroblasts_are_told_for_every_hundred_white_cells():
    rate, low, high = nucleated_red(Counter(neutrophil=200, erythroblast=10), CLASS_NAMES)
    assert rate == 5.0
    # 10 of 210 is 2.61 % to 8.54 % (Wilson); as odds.
    assert (low, high) == pytest.approx((2.68, 9.33), abs=0.02)
    assert nucleated_red(Counter(), CLASS_NAMES) == (0, 0, 0)
    assert describe_red(Counter(), CLASS_NAMES) == "no cell has a name yet"


def test_the_text_says_all_that_was_found():
    text = render_text(BLOOD, CLASS_NAMES)
    lines = {line[:22].strip(): line[22:].split() for line in text.splitlines()}
    assert lines["neutrophil"] == ["60", "60.0%", "50.2%", "to", "69.1%", "0", "3"]
    assert lines["monocyte"] == ["10", "10.0%", "5.5%", "to", "17.4%", "4", "0"]
    assert lines["white cells named"] == ["100"]
    assert lines["erythroblasts"][:2] == ["5", "5.0"]
    assert lines["platelets"][0] == "2"
    assert (lines["unsure"][0], lines["foreign"][0], lines[EDGE][0]) == ("4", "3", "7")
    assert "too few" not in text
    assert "59 cells with a name: too few" in render_text(cells(59, "neutrophil"), CLASS_NAMES)


def test_no_cell_with_a_name_is_no_error():
    text = render_text(cells(3, "neutrophil", "foreign"), CLASS_NAMES)
    assert "0.0% to 100.0%" in text
