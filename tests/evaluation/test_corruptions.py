"""Simulated shifts: each does what its name says, to known pixels, the same every time."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from tiny_export import build_export, expected_probs

from bloodkeras.answers.answer import Answers
from bloodkeras.contract import ACCEPTED, UNSURE
from bloodkeras.data.splits import Split
from bloodkeras.errors import UsageError
from bloodkeras.evaluation import corruptions as module
from bloodkeras.evaluation.corruptions import (
    SHIFTS,
    STRENGTHS,
    disc,
    judge_shifts,
    line,
    shifts_table,
)


@pytest.fixture
def grey():
    return np.full((16, 28, 28, 3), 100, np.uint8)


def dot():
    """A white point on black, off the centre."""
    image = np.zeros((16, 28, 28, 3), np.uint8)
    image[:, 10, 16] = 255
    return image


@pytest.mark.parametrize("name", SHIFTS)
def test_every_shift_has_five_growing_strengths_and_is_repeatable(name, drawn):
    shift, values = SHIFTS[name]
    assert len(values) == len(STRENGTHS)
    images = drawn.test.images[:16]
    changes = []
    for value in values:
        shifted = shift(images, value)
        assert (shifted.dtype, shifted.shape) == (np.uint8, images.shape)
        assert np.array_equal(shifted, shift(images, value))
        changes.append(np.abs(shifted.astype(int) - images).mean())
    assert changes == sorted(changes)
    assert changes[0] > 0


def test_colours_change_as_said(grey):
    assert module.white_balance(grey, 0.4)[0, 0, 0].tolist() == [100, 86, 60]
    assert module.white_balance(grey, 0.4)[1, 0, 0].tolist() == [60, 86, 100]
    assert module.brightness(grey, 0.25)[:2, 0, 0, 0].tolist() == [75, 125]
    assert module.contrast(grey, 0.5)[0, 0, 0].tolist() == [100] * 3
    strong = 255 * (100 / 255) ** 2
    weak = 255 * (100 / 255) ** 0.5
    assert module.stain_strength(grey, 1.0)[:2, 0, 0, 0].tolist() == [round(weak), round(strong)]


def test_white_stays_white_when_the_stain_changes():
    white = np.full((2, 28, 28, 3), 255, np.uint8)
    assert np.array_equal(module.stain_strength(white, 1.0), white)


def test_contrast_by_hand():
    image = np.zeros((2, 28, 28, 3), np.uint8)
    image[:, :14] = 200
    less, more = module.contrast(image, 0.5)
    assert (less[0, 0, 0], less[-1, 0, 0]) == (150, 50)
    assert (more[0, 0, 0], more[-1, 0, 0]) == (250, 0)


def test_a_dot_moves_by_so_many_pixels_in_eight_directions():
    moved = module.translation(dot(), 4)
    places = [tuple(np.argwhere(image[:, :, 0] == image.max())[0]) for image in moved[:8]]
    assert places[0] == (10, 20)
    assert places[2] == (14, 16)
    assert places[4] == (10, 12)
    assert len(set(places)) == 8
    assert all(2 <= abs(r - 10) + abs(c - 16) <= 6 for r, c in places)


def test_scale_makes_cells_smaller_and_larger():
    square = np.zeros((2, 28, 28, 3), np.uint8)
    square[:, 7:21, 7:21] = 255
    smaller, larger = (image.sum() / square[0].sum() for image in module.scale(square, 1.4))
    assert smaller == pytest.approx(1 / 1.4**2, rel=0.03)
    assert larger == pytest.approx(1.4**2, rel=0.03)


@pytest.mark.parametrize("radius", [0.75, 1.5, 2.5])
def test_the_disc_is_round_and_as_wide_as_said(radius):
    kernel = disc(radius)
    assert kernel.sum() == pytest.approx(1)
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, kernel[::-1])
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    spread = (kernel.sum(0) * offsets**2).sum()
    assert spread == pytest.approx(radius**2 / 4, rel=0.15, abs=0.1)  # of a disc, along an axis


def test_the_line_is_a_line():
    assert np.count_nonzero(line(3, 0)) == 3
    assert np.count_nonzero(line(3, 0)[line(3, 0).shape[0] // 2]) == 3
    assert np.allclose(line(5, np.pi / 2), line(5, 0).T)


def test_motion_blur_keeps_the_light_and_goes_one_way():
    across, _, down, _ = module.motion(dot(), 3)[:4, :, :, 0]
    assert across[10, 15:18].tolist() == down[9:12, 16].tolist()
    assert across.sum() == down.sum() == pytest.approx(255, abs=3)


def test_the_judgement_by_hand():
    """A classifier that calls everything class 0 and accepts even rows."""
    split = Split(np.full((4, 28, 28, 3), 100, np.uint8), np.array([0, 1, 1, 1]))

    def answer(images):
        probs = np.tile(np.eye(8)[0], (len(images), 1))
        return Answers(probs, np.zeros(len(probs)), np.array([ACCEPTED, UNSURE] * 2))

    results = judge_shifts(answer, split)
    expected = {"accuracy": 0.25, "coverage": 0.5, "selective_accuracy": 0.5}
    assert results["clean"] == expected
    assert results["mean_accuracy"] == 0.25
    assert results["shifts"]["JPEG"] == [expected] * 5
    assert json.loads(json.dumps(results)) == results
    assert len(shifts_table(results).splitlines()) == 2 + len(SHIFTS)


def test_nothing_accepted_is_no_number():
    split = Split(np.full((2, 28, 28, 3), 100, np.uint8), np.array([0, 1]))

    def answer(images):
        return Answers(np.eye(8)[:2], np.zeros(2), np.array([UNSURE] * 2))

    results = judge_shifts(answer, split)
    assert results["clean"]["selective_accuracy"] is None
    assert shifts_table(results).splitlines()[1].endswith(" -")


@pytest.fixture
def export(tmp_path):
    return build_export(tmp_path / "export")


def test_the_command_leaves_a_table_a_file_and_a_figure(export, drawn, tmp_path, capsys):
    from bloodkeras.studies.study import Study

    small = dataclasses.replace(drawn, test=Split(drawn.test.images[:24], drawn.test.labels[:24]))
    for split in ("test", "val"):
        Study(small, tmp_path / "runs").shifts(str(export), split)
    printed = capsys.readouterr().out
    folder = tmp_path / "runs/onnx-tiny/evaluation"
    results = json.loads((folder / "shifts.json").read_text(encoding="utf-8"))
    assert results["images"] == 24
    assert results["data"]["sha256"] == drawn.sha256
    assert f"{results['mean_accuracy']:.4f}" in printed
    probs = expected_probs(module.defocus(small.test.images, SHIFTS["defocus blur"][1][2]))
    found = results["shifts"]["defocus blur"][2]["accuracy"]
    assert found == pytest.approx((probs.argmax(1) == small.test.labels).mean())
    assert json.loads((folder / "shifts_val.json").read_text(encoding="utf-8"))["images"] == 120
    for name in ("shifts.png", "shifts_val.png"):
        with Image.open(tmp_path / "runs" / name) as image:
            assert min(image.size) > 800


@pytest.mark.parametrize(("target", "split"), [("export", "tset"), ("nothing", "test")])
def test_what_cannot_be_judged_is_refused(export, drawn, tmp_path, target, split):
    from bloodkeras.studies.study import Study

    with pytest.raises(UsageError, match="expected"):
        Study(drawn, tmp_path / "runs").shifts(str(tmp_path / target), split)
    assert not (tmp_path / "runs").exists()
