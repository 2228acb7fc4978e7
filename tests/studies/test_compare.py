"""Comparing models on the same images: known answers, and refusals."""

import dataclasses
import json

import numpy as np
import pytest

from bloodkeras.__main__ import COMMANDS
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.evaluation.evaluate import Report
from bloodkeras.evaluation.metrics import summarise
from bloodkeras.studies.compare import compare, mcnemar, short_names

COUNT = 400


def report(wrong, sha256="a" * 64) -> Report:
    """Return a report that is wrong on the rows given, by calling the next class."""
    labels = np.arange(COUNT) % 8
    called = labels.copy()
    called[list(wrong)] = (called[list(wrong)] + 1) % 8
    probs = np.full((COUNT, 8), 0.05, np.float32)
    probs[np.arange(COUNT), called] = 0.65
    metrics = summarise(labels, probs, CLASS_NAMES)
    data = {"sha256": sha256, "synthetic": True}
    return Report("simple", "keras", "test", data, metrics, labels, probs)


def test_mcnemar_is_the_two_sided_binomial_test():
    """Nine against one: 2 (1 + 10) / 2^10 = 0.0215, by hand."""
    better, worse = report([0]), report(range(1, 10))
    found = mcnemar(better, worse)
    assert (found["only_this"], found["only_first"]) == (9, 1)
    assert found["p"] == pytest.approx(22 / 1024)


def test_equal_models_do_not_differ():
    _, second = compare(["a", "b"], [report(range(30)), report(range(30))])
    assert second["mcnemar"]["p"] == 1
    assert set(second["difference"]["accuracy"].values()) == {0}


def test_the_difference_is_paired():
    """Two models that share 80 mistakes and differ in 12: what they share cancels out."""
    first, second = compare(["a", "b"], [report(range(80)), report(range(12, 80))])
    difference = second["difference"]["accuracy"]
    assert difference["value"] == pytest.approx(12 / COUNT)
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    apart = first["accuracy"]["high"] - first["accuracy"]["low"]
    assert difference["high"] - difference["low"] < apart / 2
    assert second["accuracy"]["value"] == pytest.approx(1 - 68 / COUNT)
    assert second["difference"]["macro_f1"]["low"] > 0


def test_other_images_are_refused():
    with pytest.raises(BloodkerasError, match="not evaluated on the same images"):
        compare(["a", "b"], [report([]), report([], sha256="b" * 64)])
    shorter = report([])
    shorter = dataclasses.replace(shorter, labels=shorter.labels[1:], probs=shorter.probs[1:])
    with pytest.raises(BloodkerasError, match="same images"):
        compare(["a", "b"], [report([]), shorter])


def test_names_are_as_short_as_they_can_be():
    assert short_names(("runs/a", "runs/b/")) == ["a", "b"]
    assert short_names(("x/a", "y/a")) == ["x/a", "y/a"]


def test_the_command_leaves_a_table_and_a_figure(tmp_path, capsys):
    for name, wrong in (("one", range(80)), ("two", range(12, 80)), ("three", range(90))):
        report(wrong).save(tmp_path / name / "evaluation")
    targets = [str(tmp_path / name) for name in ("one", "two", "three")]
    COMMANDS["compare"](*targets, runs=str(tmp_path))
    said = capsys.readouterr().out
    assert "+0.0300" in said
    assert "-0.0250" in said
    found = json.loads((tmp_path / "compare/compare.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in found["models"]] == ["one", "two", "three"]
    assert (tmp_path / "compare/compare.txt").read_text(encoding="utf-8") in said
    assert (tmp_path / "compare/compare.png").read_bytes().startswith(b"\x89PNG")


def test_refusals_say_what_to_do(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    compare_command = COMMANDS["compare"]
    with pytest.raises(UsageError, match="two runs"):
        compare_command(str(run))
    with pytest.raises(UsageError, match="unknown split"):
        compare_command(str(run), str(run), split="tset")
    with pytest.raises(BloodkerasError, match="no evaluation"):
        compare_command(str(run), str(run), runs=str(tmp_path))
    report([]).save(run / "evaluation")
    (run / "model.keras").write_bytes(b"trained since")
    with pytest.raises(BloodkerasError, match="other weights"):
        compare_command(str(run), str(run), runs=str(tmp_path))
