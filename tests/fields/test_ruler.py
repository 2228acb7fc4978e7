"""The scale of fields comes from their red cells, whatever the magnification."""

import pytest
from drawn_field import ROUND, THREE_LOBES, whole
from PIL import Image

pytest.importorskip("skimage", reason="needs scikit-image, of the extra find")

from bloodkeras.errors import BloodkerasError
from bloodkeras.fields.ruler import field_scale


def saved(folder, *images):
    paths = []
    for place, image in enumerate(images):
        paths.append(folder / f"{place}.png")
        image.save(paths[-1])
    return paths


@pytest.mark.parametrize("scale", [0.05, 0.1, 0.3])
def test_it_is_found_at_any_magnification(tmp_path, scale):
    field = whole([(25.0, 20.0, ROUND), (62.0, 38.0, THREE_LOBES)], scale)
    # The small nuclei that are drawn count a little, too.
    assert field_scale(saved(tmp_path, field)) == pytest.approx(scale, rel=0.12)


def test_a_large_field_of_small_cells_needs_a_finer_picture(tmp_path):
    field = whole([(100.0, 100.0, ROUND)], 0.3, (300.0, 240.0))  # 800 pixels high, red cells of 24
    assert field_scale(saved(tmp_path, field)) == pytest.approx(0.3, rel=0.12)


def test_two_scales_at_once_are_refused(tmp_path):
    fields = [whole([], 0.1), whole([], 0.2)]
    with pytest.raises(BloodkerasError, match=r"differ in scale: 0\.\d+ where they are 900x600"):
        field_scale(saved(tmp_path, *fields))


def test_what_shows_no_red_cells_is_refused(tmp_path):
    with pytest.raises(BloodkerasError, match=r"no red cells are seen.* give --microns-per-pixel"):
        field_scale(saved(tmp_path, Image.new("RGB", (640, 480), "white")))


def test_nothing_that_can_be_read_is_said_with_the_reason(tmp_path):
    (tmp_path / "a.png").write_text("no image", encoding="utf-8")
    with pytest.raises(BloodkerasError, match=r"no field can be read: .*a\.png is not an image"):
        field_scale([tmp_path / "a.png"])


def test_photographs_of_single_cells_among_fields_do_not_count(tmp_path):
    field = whole([(45.0, 30.0, ROUND)], 0.1)
    single = field.crop((300, 150, 600, 450))
    fields = [field, *[single.resize((150, 150))] * 9]
    assert field_scale(saved(tmp_path, *fields)) == pytest.approx(0.1, rel=0.12)
