"""Calibration on one's own cells: numbers by hand, a layer that learns, an export that is one."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn_field import field
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from test_imports import run_blocked
from tiny_export import build_export, write_sums

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import verify_checksums
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError
from bloodkeras.laboratory.calibrate import calibrate_photos
from bloodkeras.laboratory.fit import (
    balanced,
    cautious_temperature,
    even_odds_threshold,
    fit_last_layer,
    fit_once,
    stratified_folds,
)
from bloodkeras.laboratory.graph import Head, features_and_logits, load_model, read_head, write_head
from bloodkeras.laboratory.judge import evaluate_photos

WEIGHTS = 0.02 * np.eye(3, 8, dtype=np.float32)  # red is class 0, green class 1, blue class 2
BIAS = np.linspace(0, 0.1, 8, dtype=np.float32)


def build_model(temperature="Mul", transposed=False) -> onnx.ModelProto:
    """Return mean colours, a dense layer, a temperature of 2 (or none), a softmax."""
    weights = np.ascontiguousarray(WEIGHTS.T) if transposed else WEIGHTS
    factor = {"Mul": 0.5, "Div": 2.0}.get(temperature)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["colours"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["colours", "w", "b"], ["logits"], transB=int(transposed)),
        helper.make_node("Softmax", ["cool" if factor else "logits"], ["probs"], axis=-1),
        helper.make_node("ReduceMax", ["colours"], ["foreign"], axes=[1], keepdims=0),
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(BIAS, "b")]
    if factor:
        nodes.insert(3, helper.make_node(temperature, ["logits", "t"], ["cool"]))
        constants.append(numpy_helper.from_array(np.float32(factor), "t"))
    graph = helper.make_graph(
        nodes,
        "lab",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28, 3])],
        [
            helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", 8]),
            helper.make_tensor_value_info("foreign", TensorProto.FLOAT, ["N"]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in (("labels", json.dumps(CLASS_NAMES)), ("thresholds", "{}")):
        model.metadata_props.add(key=f"bloodkeras.{key}", value=value)
    return model


@pytest.fixture
def export(tmp_path):
    """An export of that model, with an int8 file that must not survive."""
    folder = build_export(tmp_path / "export")
    onnx.save(build_model(), folder / "model.onnx")
    card = {"model": "plain", "metrics": {"test": 1}, "thresholds": {"foreign": 90.0}}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    shutil.copy(folder / "model.onnx", folder / "model.int8.onnx")
    write_sums(folder)
    return folder


@pytest.fixture
def lab(tmp_path):
    """Cells whose colours are turned round: red is class 1 here, green class 2, blue class 0."""
    folder = tmp_path / "lab"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for table, numbers in (("own.csv", range(60)), ("others.csv", range(60, 120))):
        lines = ["file,label"]
        for number in numbers:
            channel = number % 3
            colour = rng.integers(20, 120, 3)
            colour[channel] += 110
            Image.new("RGB", (28, 28), tuple(colour.tolist())).save(folder / f"{number}.png")
            lines.append(f"{number}.png,{CLASS_NAMES[(channel + 1) % 3]}")
        (folder / table).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def calibrated(export, lab, **options):
    out = export.parent / "new"
    return calibrate_photos(str(export), str(lab), str(lab / "own.csv"), str(out), **options)


# --- the graph ----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", ["Mul", "Div", ""])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_head_is_read_and_replaced(tmp_path, temperature, transposed):
    model = build_model(temperature, transposed)
    head = read_head(model)
    assert np.array_equal(head.weights, WEIGHTS)
    assert np.array_equal(head.bias, BIAS)
    assert head.temperature == pytest.approx(2 if temperature else 1)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3), np.uint8)
    features, logits, foreign = features_and_logits(model, images)
    colours = images.mean((1, 2))
    assert features == pytest.approx(colours, rel=1e-4)
    assert logits == pytest.approx(colours @ WEIGHTS + BIAS, abs=1e-3)
    assert foreign == pytest.approx(colours.max(1), rel=1e-4)
    new = Head(WEIGHTS[::-1] * 2, BIAS + 1, 4.0)
    write_head(model, new)
    folder = build_export(tmp_path / "export")
    onnx.save(model, folder / "model.onnx")
    write_sums(folder)
    powers = np.exp((colours @ new.weights + new.bias) / 4)
    expected = powers / powers.sum(1, keepdims=True)
    assert Classifier.load(folder).predict_proba(images) == pytest.approx(expected, abs=1e-4)


def test_another_graph_is_refused(tmp_path):
    folder = build_export(tmp_path / "export")  # MatMul instead of Gemm
    with pytest.raises(BloodkerasError, match="does not end in a dense layer"):
        read_head(load_model(folder / "model.onnx"))


@pytest.mark.parametrize("name", ["simple", "deeper", "tiny", "residual"])
def test_the_heads_of_the_committed_exports_are_found(name):
    folder = Path(__file__).parents[2] / "exports" / name
    model = load_model(folder / "model.onnx")
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    head = read_head(model)
    assert head.temperature == pytest.approx(card["calibration"]["temperature"], rel=1e-5)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), np.uint8)
    features, logits, _ = features_and_logits(model, images)
    assert logits == pytest.approx(features @ head.weights + head.bias, rel=1e-3, abs=1e-3)


# --- the numbers --------------------------------------------------------------------------------


def test_thresholds_by_hand():
    """A share of 5 % wrong gives 14 right in a row with 48.8 %, 33 with one mistake with 49.9 %."""
    sure = np.linspace(1, 0.4, 60)
    assert even_odds_threshold(sure[:13], np.ones(13, bool)) == 1.01
    assert even_odds_threshold(sure[:14], np.ones(14, bool)) == sure[13]
    right = np.ones(60, bool)
    right[20] = False
    assert even_odds_threshold(sure[:30], right[:30]) == sure[19]
    assert even_odds_threshold(sure, right) == sure[59]
    right[40:] = False
    assert even_odds_threshold(sure, right) == sure[39]


def test_as_many_cells_as_somebody_may_have_make_no_threshold_out_of_nothing():
    """0.95 to the power of 16,000 is 0 to a float; half of these answers are wrong."""
    rng = np.random.default_rng(0)
    sure, right = rng.random(16_000), rng.random(16_000) < 0.5
    assert even_odds_threshold(sure, right) == 1.01
    assert even_odds_threshold(sure, rng.random(16_000) < 0.97) == sure.min()


def test_equal_confidences_are_accepted_together():
    right = np.ones(20, bool)
    right[14:] = False
    assert even_odds_threshold(np.ones(20), right) == 1.01


def test_the_temperature_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 8)) * 2
    labels = np.array([rng.choice(8, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    assert cautious_temperature(logits * 3, labels) == pytest.approx(3, rel=0.1)
    assert (
        cautious_temperature(logits[:1], logits[:1].argmax(1), before=2.0) > 0.5
    )  # drawn to before


def test_folds_hold_every_class_and_every_cell_once():
    labels = np.repeat([0, 1, 2], [25, 20, 5])
    folds = stratified_folds(labels)
    counts = np.array([np.bincount(labels[folds == f], minlength=3) for f in range(5)])
    assert np.array_equal(counts, np.tile([5, 4, 1], (5, 1)))


def test_noise_is_not_learnt_but_a_rule_is():
    """Of 60 cells with 40 features one is the class; the judgement is of cells left out."""
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 2
    noise = np.repeat(rng.normal(size=(60, 1, 40)), 8, axis=1)
    zero = np.zeros((40, 2)), np.zeros(2)
    guessed = fit_last_layer(noise, labels, *zero)
    assert (guessed.left_out.argmax(-1) == labels).mean() < 0.7
    assert guessed.penalty > 0.003
    ruled = noise.copy()
    ruled[..., 0] = 3 * labels[:, None]
    found = fit_last_layer(ruled, labels, *zero)
    assert (found.left_out.argmax(-1) == labels).mean() > 0.95
    assert ((ruled[:, 0] @ found.weights + found.bias).argmax(1) == labels).all()


def test_one_fit_learns_a_rule_at_once_and_leaves_what_it_knows():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(30, 40)), np.arange(30) % 2
    features[:, 0] = 3 * labels
    weights, bias = fit_once(features, labels, np.zeros((40, 2)), np.zeros(2))
    assert ((features @ weights + bias).argmax(1) == labels).all()
    known = np.eye(40, 2, dtype=float) * [[-9, 9]], np.array([0.0, -13])
    again = fit_once(features, (features @ known[0] + known[1]).argmax(1), *known)
    assert np.allclose(again[0], known[0], atol=0.5)


def test_a_rare_class_is_neither_lost_nor_counts_like_a_common_one():
    """Of 100 cells eight overlap wholly with the others: what is answered are their odds."""
    assert balanced(np.array([0, 0, 0, 0, 1])) == pytest.approx(np.array([5, 5, 5, 5, 10]) / 6)
    labels = np.repeat([0, 1], [92, 8])
    alike = np.ones((100, 8, 1))
    found = fit_last_layer(alike, labels, np.zeros((1, 2)), np.zeros(2))
    logits = alike[0, 0] @ found.weights + found.bias
    assert logits[0] - logits[1] == pytest.approx(np.log(np.sqrt(92 / 8)), abs=0.1)


# --- the export ---------------------------------------------------------------------------------


def test_a_new_last_layer_learns_what_is_different_here(export, lab, tmp_path, capsys):
    others = (str(lab), str(lab / "others.csv"))
    before = evaluate_photos(Classifier.load(export), *others, tmp_path / "before")
    folder = calibrated(export, lab, last_layer=True)
    printed = capsys.readouterr().out
    after = evaluate_photos(Classifier.load(folder), *others, tmp_path / "after")
    assert before["all_classes"]["accuracy"] < 0.2
    assert after["all_classes"]["accuracy"] > 0.9
    assert after["all_classes"]["coverage"] > 0.5
    facts = json.loads((folder / "card.json").read_text(encoding="utf-8"))["calibrated_on"]
    assert facts["accuracy"] > 0.9
    assert facts["cells"]["basophil"] == 20
    assert "platelet" in printed.split("hardly ever the answer now:")[1]


def test_temperature_and_thresholds_alone_change_no_label(export, lab):
    folder = calibrated(export, lab)
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28, 3), np.uint8)
    old, new = Classifier.load(export).answer(images), Classifier.load(folder).answer(images)
    assert np.array_equal(old.probs.argmax(1), new.probs.argmax(1))
    assert not np.allclose(old.probs, new.probs)
    assert np.array_equal(old.foreign, new.foreign)
    # Nearly all answers are wrong there, so none is to be accepted, and they are less sure.
    assert new.probs.max() < old.probs.max()
    assert set(new.verdicts) <= {"unsure", "foreign"}


def test_the_new_export_is_complete_and_says_what_it_is(export, lab):
    folder = calibrated(export, lab, last_layer=True)
    verify_checksums(folder)
    assert {p.name for p in folder.iterdir()} == {
        "model.onnx",
        "card.json",
        "MODEL_CARD.md",
        "SHA256SUMS",
    }
    assert [p.name for p in export.parent.iterdir() if p.name.startswith(".")] == []
    classifier = Classifier.load(folder)
    card = classifier.card
    assert card["model"] == "new"
    assert card["calibrated_on"]["model"] == "plain"
    assert card["metrics"] == {}
    shares = dict(zip(classifier.labels, card["class_shares"], strict=True))
    cells = card["calibrated_on"]["cells"]
    counted = {name: np.sqrt(count) + 1 for name, count in cells.items()}  # as the fit counts
    expected = {name: count / sum(counted.values()) for name, count in counted.items()}
    assert shares == pytest.approx(expected, abs=1e-6)
    assert shares["basophil"] > 5 * shares["platelet"]
    assert card["before_calibration"]["metrics"] == {"test": 1}
    assert not card["int8"]["published"]
    metadata = classifier._session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["bloodkeras.thresholds"]) == card["thresholds"]
    assert read_head(load_model(folder / "model.onnx")).temperature == pytest.approx(
        card["calibration"]["temperature"]
    )
    page = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "calibrated on 60 cells" in page
    assert "# tiny" in page
    assert card["thresholds"]["foreign"] >= 90


def test_cells_whose_frame_is_in_doubt_are_never_counted_as_accepted(export, lab, capsys):
    """As in predict; so they have no say in the threshold either."""
    with open(lab / "own.csv", "a", encoding="utf-8") as table:
        for number in range(6):
            field(2, side=350 + number).save(lab / f"wide{number}.png")
            table.write(f"wide{number}.png,{CLASS_NAMES[7]}\n")
    folder = calibrated(export, lab, last_layer=True)
    facts = json.loads((folder / "card.json").read_text(encoding="utf-8"))["calibrated_on"]
    assert (facts["doubtful"], sum(facts["cells"].values())) == (6, 66)
    assert 0 < facts["coverage"] <= 60 / 66
    assert "unsure because their frame is in doubt, as in predict: 6" in capsys.readouterr().out
    assert facts["selective_accuracy"] is not None


def test_another_graph_is_refused_before_the_photographs_are_read(lab, tmp_path):
    other = build_export(tmp_path / "export")
    with pytest.raises(BloodkerasError, match=r"^tiny cannot be calibrated: .* export the model"):
        calibrate_photos(str(other), str(lab / "none"), "", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_calibrating_twice_gives_the_same_file(export, lab):
    first = calibrated(export, lab, last_layer=True)
    digest = (first / "SHA256SUMS").read_text(encoding="utf-8")
    shutil.rmtree(first)
    assert (calibrated(export, lab, last_layer=True) / "SHA256SUMS").read_text(
        encoding="utf-8"
    ) == digest


def test_what_was_calibrated_before_keeps_its_record_and_says_what_it_has_seen(export, lab, capsys):
    first = calibrated(export, lab, last_layer=True)
    assert "very cells" not in capsys.readouterr().out
    words = str(lab), str(lab / "own.csv"), str(export.parent / "again")
    card = json.loads(
        (calibrate_photos(str(first), *words) / "card.json").read_text(encoding="utf-8")
    )
    assert "new was calibrated on these very cells" in capsys.readouterr().out
    assert card["before_calibration"]["calibrated_on"]["model"] == "plain"
    assert card["before_calibration"]["before_calibration"]["metrics"] == {"test": 1}


def test_copies_are_left_out_and_one_class_makes_no_last_layer(export, lab, capsys):
    rows = (lab / "own.csv").read_text(encoding="utf-8").splitlines(True)
    copies = []
    for number in range(1000, 1030):
        shutil.copy(lab / "0.png", lab / f"{number}.png")
        copies.append(f"{number}.png,{CLASS_NAMES[1]}\n")
    (lab / "own.csv").write_text("".join(rows + copies), encoding="utf-8")
    card = json.loads(
        (calibrated(export, lab, last_layer=True) / "card.json").read_text(encoding="utf-8")
    )
    assert sum(card["calibrated_on"]["cells"].values()) == 60
    assert "left out, for they show the same as others: 30" in capsys.readouterr().out
    shutil.rmtree(export.parent / "new")
    (lab / "own.csv").write_text("".join([rows[0], *copies]), encoding="utf-8")
    with pytest.raises(BloodkerasError, match="1 different labelled cells are too few"):
        calibrated(export, lab)
    ones = [row for row in rows[1:] if CLASS_NAMES[1] in row]
    (lab / "own.csv").write_text("".join([rows[0], *ones]), encoding="utf-8")
    with pytest.raises(BloodkerasError, match="all cells are eosinophil"):
        calibrated(export, lab, last_layer=True)
    assert not (export.parent / "new").exists()


def test_what_is_there_is_not_overwritten_and_too_few_are_refused(export, lab):
    (export.parent / "new").mkdir()
    with pytest.raises(BloodkerasError, match="is there already"):
        calibrated(export, lab)
    (export.parent / "new").rmdir()
    (lab / "own.csv").write_text(
        "".join((lab / "own.csv").read_text(encoding="utf-8").splitlines(True)[:11]),
        encoding="utf-8",
    )
    with pytest.raises(BloodkerasError, match="10 different labelled cells are too few"):
        calibrated(export, lab)
    assert not (export.parent / "new").exists()


def test_a_file_where_the_folder_should_be_is_named_before_anything_is_read(export, tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for out in (tmp_path / "file/new", tmp_path / "file/below/new"):
        with pytest.raises(BloodkerasError, match="expected a folder, found the file"):
            calibrate_photos(str(export), str(tmp_path / "no photographs"), "", str(out))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_calibration_after_which_nothing_is_accepted_is_a_warning(export, lab, capsys):
    card = json.loads((calibrated(export, lab, last_layer=True) / "card.json").read_bytes())
    assert card["calibrated_on"]["coverage"] > 0
    assert "accepts none" not in capsys.readouterr().err
    shutil.rmtree(export.parent / "new")
    folder = calibrated(export, lab)  # whose colours this network has not seen
    assert f"{folder} accepts none of these cells" in capsys.readouterr().err


def test_without_onnx_the_command_says_what_to_install(export, lab, tmp_path):
    words = [
        "calibrate",
        str(export),
        "--photos",
        str(lab),
        "--labels",
        str(lab / "own.csv"),
        "--out",
        str(tmp_path / "new"),
    ]
    done = run_blocked(f"sys.argv[1:] = {words!r}\nfrom bloodkeras.__main__ import main; main()")
    assert done.returncode == 1
    assert "pip install 'bloodkeras[calibrate]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_for_each_class_calibrates_as_its_table_does(export, lab):
    """And the card knows the same cells again."""
    by_table = calibrated(export, lab)
    rows = (lab / "own.csv").read_text(encoding="utf-8").splitlines()[1:]
    for row in rows:
        name, label = row.split(",")
        folder = lab.parent / "sorted" / label.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(lab / name, folder)
    words = str(lab.parent / "sorted"), ""
    cards = [json.loads((by_table / "card.json").read_text(encoding="utf-8"))]
    for start, out in ((export, "again"), (lab.parent / "again", "third")):
        calibrate_photos(str(start), *words, str(lab.parent / out))
        cards.append(json.loads((lab.parent / out / "card.json").read_text(encoding="utf-8")))
    facts = [card["calibrated_on"] for card in cards]
    assert facts[1]["cells"] == facts[0]["cells"]
    assert facts[1]["temperature"] == pytest.approx(facts[0]["temperature"])
    assert facts[1]["labels_sha256"] == facts[2]["labels_sha256"] != facts[0]["labels_sha256"]
    assert [fact["seen_before"] for fact in facts] == [False, False, True]
