"""Five drawn classes at 40 pixels go the whole way, from `data` to `serve`, by the commands.

Nothing here is told of the classes or the side but by the file.
"""

import csv
import http.client
import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from bloodkeras.__main__ import COMMANDS
from bloodkeras.answers.classifier import Classifier
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.cli.options import Asking
from bloodkeras.data.splits import read_npz
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.laboratory.calibrate import calibrate_photos
from bloodkeras.laboratory.judge import evaluate_photos

FIVE = DataSet(
    "Five kinds",
    ("round", "lobed", "CD4+", "small", "giant cell"),
    40,
    "CC0",
    ("Drawn by tests/test_other_dataset.py.",),
    "It has seen drawn cells only.",
)
commands = SimpleNamespace(**{name.replace("-", "_"): each for name, each in COMMANDS.items()})
SIZES = {"train": 120, "val": 60, "test": 60}


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    """The data set as a file that says what it is."""
    path = tmp_path_factory.mktemp("five") / "five.npz"
    said = {key: getattr(FIVE, key) for key in ("name", "class_names", "licence", "credits")}
    np.savez(path, limits=FIVE.limits, **said, **draw_arrays(SIZES, dataset=FIVE))
    return path


@pytest.fixture(scope="module")
def runs(five) -> Path:
    """A run of the recipe that has most to do, and its export; judged, both of them."""
    folder = five.parent / "runs"
    there = {"data": str(five), "runs": str(folder)}
    small = {"epochs": "1", "batch_size": "40", "width": "0.25", "precision": "float32"}
    with pytest.MonkeyPatch.context() as patch:
        from bloodkeras.export import quantise

        patch.setattr(quantise, "MAX_FALL", 1.0)  # one epoch: int8 may say anything
        commands.train("robust", **there, **small)
        commands.evaluate(str(folder / "robust-seed42"), **there)
        commands.export("robust", **there)
        commands.evaluate(str(folder / "exports/robust"), **there)
    return folder


@pytest.fixture(scope="module")
def export(runs) -> str:
    return str(runs / "exports/robust")


@pytest.fixture(scope="module")
def photographs(five) -> Path:
    """Cells of every class as larger photographs, a folder for each class."""
    splits, folder = read_npz(five), five.parent / "photographs"
    for k, name in enumerate(FIVE.class_names):
        (folder / name).mkdir(parents=True)
        for row in np.flatnonzero(splits.test.labels == k)[:5]:
            cell = Image.fromarray(splits.test.images[row]).resize((200, 200))
            cell.save(folder / name / f"{row}.png")
    return folder


def test_the_data_say_what_they_are(five, tmp_path, capsys):
    commands.data(data=str(five))
    assert "40x40 RGB, 5 classes of Five kinds" in capsys.readouterr().out
    commands.eda(data=str(five), runs=str(tmp_path))
    assert "giant cell" in (tmp_path / "eda/audit.txt").read_text(encoding="utf-8")
    assert (tmp_path / "eda/augmentation_robust.png").exists()


@pytest.mark.slow
def test_a_run_an_export_and_a_card_carry_it(runs, export):
    data = json.loads((runs / "robust-seed42/data.json").read_text(encoding="utf-8"))
    assert DataSet.from_dict(data["dataset"]) == FIVE
    classifier = Classifier.load(export)
    assert classifier.dataset == FIVE
    assert classifier.labels == FIVE.class_names
    card = classifier.card
    assert DataSet.from_dict(card["dataset"]) == FIVE
    assert card["license"]["data"] == "CC0"
    assert "(N, 40, 40, 3)" in card["input"]
    text = Path(export, "MODEL_CARD.md").read_text(encoding="utf-8")
    assert all(said in text for said in (*FIVE.class_names, *FIVE.credits, FIVE.limits, "40x40"))
    assert not any(said in text for said in ("28x28", "eight classes", "Acevedo", "neutrophil"))
    assert list(card["metrics"]["test"]["per_class"]) == list(FIVE.class_names)


@pytest.mark.slow
def test_both_precisions_answer_and_travel_between_processes(export, five):
    images = read_npz(five).test.images
    for precision in ("float32", "int8"):
        classifier = Classifier.load(export, precision=precision)
        answers = classifier.answer(images)
        assert answers.probs.shape == (60, 5)
        copy = pickle.loads(pickle.dumps(classifier))
        assert copy.dataset == FIVE
        assert np.array_equal(copy.predict_proba(images), answers.probs)


@pytest.mark.slow
def test_images_and_data_of_another_set_are_refused(export, runs, five, drawn_file):
    classifier = Classifier.load(export)
    with pytest.raises(BloodkerasError, match=r"uint8 \(N, 40, 40, 3\), found uint8 \(2, 28"):
        classifier.predict_proba(np.zeros((2, 28, 28, 3), np.uint8))
    there = {"data": str(drawn_file), "runs": str(runs)}
    for target in (str(runs / "robust-seed42"), export):
        with pytest.raises(BloodkerasError, match=r"Five kinds \(40x40 .*BloodMNIST \(28x28"):
            commands.evaluate(target, **there)
    with pytest.raises(BloodkerasError, match=r"Five kinds \(40x40 .*BloodMNIST \(28x28"):
        commands.export(str(runs / "robust-seed42"), **there)
    with pytest.raises(BloodkerasError, match="other data"):
        commands.train(
            "robust",
            **there,
            out=str(runs / "robust-seed42"),
            resume=True,
            epochs="1",
            batch_size="40",
            width="0.25",
            precision="float32",
        )
    with pytest.raises(BloodkerasError, match=r"BloodMNIST \(28x28 .*Five kinds \(40x40"):
        commands.evaluate("tiny", data=str(five), runs=str(runs))


@pytest.mark.slow
def test_shifts_are_judged(export, runs, five, capsys):
    from bloodkeras.studies.study import Study

    Study(read_npz(five), runs).shifts(export)
    assert "translation" in capsys.readouterr().out


@pytest.mark.slow
def test_predict_takes_its_files_arrays_and_photographs(export, five, photographs, tmp_path):
    out = tmp_path / "answers.csv"
    words = [str(five), str(photographs)]
    kept = str(tmp_path / "sorted"), str(tmp_path / "page.html")
    commands.predict(*words, model=export, out=str(out), sort_into=kept[0], report=kept[1])
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(SIZES.values()) + 25
    assert not any(row["error"] for row in rows if row["path"].startswith(str(five)))
    assert {row["label"] for row in rows} <= set(FIVE.class_names)
    assert {"prob_giant_cell", "prob_CD4+"} < set(rows[0])
    own = Classifier.load(export)
    assert [row["label"] for row in rows[-25:]] == [
        answer.label for answer in own.predict(sorted(photographs.rglob("*.png")))
    ]


@pytest.mark.slow
def test_priors_are_those_of_its_own_classes(export, five):
    classifier, images = Classifier.load(export), read_npz(five).test.images
    answers = classifier.answer(images, ["giant cells", "cd4+"])
    assert set(answers.probs.argmax(1)) <= {2, 4}
    assert classifier.estimate_prior(answers.probs).by_class
    with pytest.raises(UsageError, match=r"healthy blood is known, .* round, lobed"):
        classifier.answer(images, "blood")
    with pytest.raises(UsageError, match="give a file of weights"):
        commands.predict(str(five), model=export, asking=Asking(prior="blood"))


@pytest.mark.slow
def test_a_laboratorys_own_cells_judge_and_calibrate_it(export, photographs, tmp_path, capsys):
    evaluate_photos(Classifier.load(export), str(photographs), "", tmp_path / "judged")
    said = capsys.readouterr().out
    assert "giant cell" in said
    assert "blood" not in said
    calibrate_photos(export, str(photographs), "", str(tmp_path / "mine"), last_layer=True)
    mine = Classifier.load(tmp_path / "mine")
    assert mine.dataset == FIVE
    assert set(mine.card["calibrated_on"]["cells"]) == set(FIVE.class_names)


@pytest.mark.slow
def test_score_takes_folders_and_raw_pixels(export, five, photographs, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as arrow

    images = read_npz(five).test.images
    pixels = arrow.array([image.tobytes() for image in images], arrow.binary(40 * 40 * 3))
    parquet.write_table(arrow.table({"image": pixels}), tmp_path / "raw.parquet")
    commands.score(str(tmp_path / "raw.parquet"), out=str(tmp_path / "raw"), model=export)
    found = parquet.read_table(tmp_path / "raw/part-000000.parquet").to_pydict()
    probs = np.stack([found[f"prob_{name.replace(' ', '_')}"] for name in FIVE.class_names], 1)
    assert np.array_equal(np.float32(probs), Classifier.load(export).predict_proba(images))
    commands.score(str(photographs), out=str(tmp_path / "files"), model=export)
    assert parquet.read_table(tmp_path / "files/part-000000.parquet").num_rows == 25
    with pytest.raises(BloodkerasError, match="raw uint8 28x28x3"):
        commands.score(str(tmp_path / "raw.parquet"), out=str(tmp_path / "x"), model="tiny")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="stops a server by Unix' signals")
def test_serve_answers_pixels_and_photographs_beside_another_model(export, five, photographs):
    pytest.importorskip("fastapi", reason="needs the extra serve: pip install 'bloodkeras[serve]'")
    import signal
    import subprocess

    words = ["serve", "--port", "0", "--model", f"five={export},tiny"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bloodkeras", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(process.stdout.readline().split(" ")[0].rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def ask(method, path, body=None, kind="application/json"):
            connection.request(method, path, body, {"content-type": kind})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        inputs = {
            name: ask("GET", f"/v2/models/{name}")[1]["inputs"][0]["shape"]
            for name in ("five", "tiny")
        }
        assert inputs == {"five": [-1, 40, 40, 3], "tiny": [-1, 28, 28, 3]}
        images = read_npz(five).test.images[:3]
        tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape}
        body = json.dumps({"inputs": [tensor | {"data": images.ravel().tolist()}]})
        status, found = ask("POST", "/v2/models/five/infer", body)
        own = Classifier.load(export)
        labels = next(o["data"] for o in found["outputs"] if o["name"] == "label")
        assert (status, labels) == (200, [answer.label for answer in own.predict(images)])
        status, found = ask("POST", "/v2/models/tiny/infer", body)
        assert status == 400
        assert "UINT8 [N, 28, 28, 3]" in found["error"]
        assert "UINT8 [3, 40, 40, 3]" in found["error"]
        file = next(photographs.rglob("*.png"))
        status, found = ask("POST", "/v2/models/five/infer", file.read_bytes(), "image/png")
        labels = next(o["data"] for o in found["outputs"] if o["name"] == "label")
        assert (status, labels) == (200, [own.predict(file)[0].label])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


@pytest.mark.slow
def test_the_demo_explains_it(export, photographs, tmp_path):
    pytest.importorskip("gradio", reason="needs the extra demo: pip install 'bloodkeras[demo]'")
    from bloodkeras.demo.explain import Explainer
    from bloodkeras.demo.page import build_page
    from bloodkeras.demo.server import draw_examples
    from bloodkeras.demo.tile import tile

    explainer, file = Explainer(export), next(photographs.rglob("*.png"))
    found = explainer.explain(str(file))
    assert found.pixels.shape == (40, 40, 3)
    assert {name for name, _ in found.probs} == set(FIVE.class_names)
    assert "Five kinds" in found.trust
    assert found.label in tile(found)
    examples = draw_examples(tmp_path, 40)
    assert Image.open(examples[0]).size == (40, 40)
    said = str(build_page(explainer, examples).get_config_file())
    assert FIVE.limits in said
    assert "40x40" in said
    assert "hospital" not in said


@pytest.mark.slow
@pytest.mark.parametrize("side", [31, 40])
def test_every_network_is_built_for_any_side_and_classes(side):
    import dataclasses

    from bloodkeras.recipes import RECIPES
    from bloodkeras.training.models import build_model, predict_proba

    dataset = dataclasses.replace(FIVE, image_side=side)
    images = draw_arrays({"train": 5, "val": 5, "test": 5}, dataset=dataset)["test_images"]
    narrow = {n: dataclasses.replace(r, model_width=0.25) for n, r in RECIPES.items()}
    models = {name: build_model(recipe, dataset) for name, recipe in narrow.items()}
    for model in models.values():
        probs = predict_proba(model, images)
        assert probs.shape == (5, 5)
        assert np.allclose(probs.sum(1), 1, atol=1e-5)


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_bloodmnists(runs, drawn, drawn_file, tmp_path):
    """data.json said nothing of the data set: it is evaluated, exported and gone on with as was."""
    from bloodkeras.recipe import override
    from bloodkeras.recipes import RECIPES
    from bloodkeras.training.run_folder import finished_run, load_run
    from bloodkeras.training.train import train

    recipe = override(RECIPES["simple"], {"epochs": "1", "batch_size": "100", "width": "0.25"})
    folder = train(recipe, drawn, tmp_path / "simple-seed42")
    new = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    assert DataSet.from_dict(new.pop("dataset")) == BLOODMNIST
    (folder / "data.json").write_text(json.dumps(new), encoding="utf-8")
    assert load_run(folder).dataset == BLOODMNIST
    assert finished_run(folder, recipe, drawn)
    there = {"data": str(drawn_file), "runs": str(tmp_path)}
    commands.evaluate(str(folder), **there)
    commands.export(str(folder), **there)
    assert Classifier.load(tmp_path / "exports/simple").dataset == BLOODMNIST


def test_a_class_that_no_test_cell_has(five, tmp_path):
    """As a rare one of a single patient: nothing is said of it, and all else is as always."""
    with np.load(five) as held:
        arrays = dict(held)
    there = arrays["test_labels"].ravel() != 2
    arrays |= {key: arrays[key][there] for key in ("test_images", "test_labels")}
    path = tmp_path / "four.npz"
    np.savez(path, **arrays)
    named = {"data": str(path), "runs": str(tmp_path / "runs")}
    commands.train("tiny", epochs="1", **named)
    commands.evaluate("tiny", **named)
    commands.export("tiny", **named)
    said = (tmp_path / "runs/tiny-seed42/evaluation/test.txt").read_text()
    assert "CD4+" not in said
    card = (tmp_path / "runs/exports/tiny/MODEL_CARD.md").read_text()
    assert "| CD4+ | not judged | not judged | not judged | 0 |" in card
