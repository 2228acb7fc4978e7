"""The sheet of frames: twelve cells beside twelve of BloodMNIST, the scale in its title."""

import numpy as np
import pytest
from drawn_field import field
from PIL import Image

from bloodkeras.cli.judging import frames
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.frames import GAP, HEAD, SHOWN, TILE, draw, twelve
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import read_image


@pytest.fixture
def photos(tmp_path):
    """A folder of fifteen photographs, one of them damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(14):
        field(1, 480 + 2 * number).save(folder / f"{number:02}.png")
    (folder / "05.png").write_bytes(b"nothing")
    return str(folder)


def test_the_cells_are_as_the_network_sees_them(photos):
    framing = Framing(0.08, image_side=64)
    shown = twelve([photos], framing)
    assert 0 < len(shown) <= SHOWN
    sheet = np.asarray(draw(shown, "a title"))
    first = sheet[HEAD : HEAD + TILE, GAP : GAP + TILE].reshape(64, 2, 64, 2, 3)[:, 0, :, 0]
    np.testing.assert_array_equal(first, read_image(f"{photos}/00.png", framing))


@pytest.mark.parametrize("size", [28, 64])
def test_the_command_writes_one_image_and_says_the_scale(photos, tmp_path, capsys, size):
    out = tmp_path / "sheet.png"
    frames(photos, out=str(out), size=size)
    with Image.open(out) as sheet:
        assert sheet.width > 2 * 4 * TILE
    assert "micrometres a pixel, estimated" in capsys.readouterr().out
    frames(photos, out=str(out), size=size, microns_per_pixel=0.08)
    assert "0.08 micrometres a pixel, as given" in capsys.readouterr().out


def test_what_cannot_be_shown_is_refused(photos, tmp_path):
    with pytest.raises(UsageError, match=r"\.png"):
        frames(photos, out=str(tmp_path / "sheet.html"))
    with pytest.raises(UsageError, match="--size"):
        frames(photos, out=str(tmp_path / "sheet.png"), size=4)
    with pytest.raises(BloodkerasError, match="no such file or folder"):
        frames(str(tmp_path / "none"), out=str(tmp_path / "sheet.png"))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"nothing")
    with pytest.raises(BloodkerasError, match="no photograph"):
        frames(str(bad), out=str(tmp_path / "sheet.png"))
    assert not (tmp_path / "sheet.png").exists()


def test_by_default_they_are_those_of_the_network_for_photographs(photos, tmp_path):
    sheets = []
    for name, options in (("default", {}), ("large", {"size": 64}), ("small", {"size": 28})):
        out = tmp_path / f"{name}.png"
        frames(photos, out=str(out), microns_per_pixel=0.08, **options)
        sheets.append(out.read_bytes())
    default, large, small = sheets
    assert default == large != small
