"""Writes down what an exported model is: the facts as JSON, and a page for people.

Flow: takes a `Run`, `Splits` and the exported file's predict_proba; gives a card (dict), its
Markdown and its HTML page. Nothing in a card is typed by hand.
Sources: Mitchell et al. 2019, Model Cards for Model Reporting, doi:10.1145/3287560.3287596.
"""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bloodkeras import contract
from bloodkeras.answers.classifier import Classifier
from bloodkeras.bloodmnist import BLOODMNIST, unnamed
from bloodkeras.data.splits import Split, Splits
from bloodkeras.dataset import DataSet
from bloodkeras.evaluation import figures
from bloodkeras.evaluation.corruptions import shifts_table
from bloodkeras.evaluation.doubt import doubt_table, judge_doubt, risk_coverage
from bloodkeras.evaluation.evaluate import evaluate
from bloodkeras.export.calibration import TRUE_ACCEPTANCE, Calibration
from bloodkeras.export.document import END, render_document, render_figures, render_markdown
from bloodkeras.export.gaussian import gaussian
from bloodkeras.export.quantise import Quantised
from bloodkeras.laboratory.shift_score import colours, describe_colours
from bloodkeras.named_types import Json
from bloodkeras.recipe import Recipe
from bloodkeras.training.run_folder import Run

PREPROCESSING = (
    "none for {side}x{side} images: the graph takes raw RGB pixels, uint8 0..255, and scales them "
    "itself. Photographs of 300 to 420 pixels, as those of BloodMNIST are, as MedMNIST did: centre "
    f"crop {contract.CROP_SIDE}x{contract.CROP_SIDE}, bilinear resize to {{side}}x{{side}}, JPEG "
    f"round trip at quality {contract.JPEG_QUALITY} (4:2:0). Others so that the cell is as large "
    "in the {side} pixels as there (docs/photographs.md). `bloodkeras predict` does either"
)


FIGURES = "<h2>Figures</h2>\n"  # between the page's text and its figures


def build_card(run: Run, splits: Splits, calibration: Calibration) -> Json:
    """Collect the facts of an export that are known before its ONNX file is judged.

    Still to come are "metrics", "shifts" and "largest_difference_to_keras", of a probability on
    val.
    """
    dataset, side = run.dataset, run.dataset.image_side
    return {
        "model": run.export_name,
        "labels": list(dataset.class_names),
        "dataset": dataset.as_dict(),
        "input": f"{contract.INPUT_NAME}: uint8 (N, {side}, {side}, 3), RGB, 0..255",
        "output": f"{contract.OUTPUT_NAME}: float32 (N, {dataset.class_count}), rows sum to 1",
        "preprocessing": PREPROCESSING.format(side=side),
        "thresholds": dataclasses.asdict(calibration.thresholds),
        "calibration": {
            "temperature": calibration.temperature,
            "foreign_score": calibration.score,
            "aurocs_on_val": calibration.aurocs,
            "coverage_on_val": calibration.coverage,
            "selective_accuracy": calibration.selective_accuracy,
            "elsewhere": calibration.elsewhere,
            "true_acceptance": TRUE_ACCEPTANCE,
        },
        "parameters": run.info["parameters"],
        "multiply_adds": run.info["multiply_adds"],
        "class_shares": expected_shares(splits.train, run.recipe),
        "recipe": dataclasses.asdict(run.recipe),
        "training": {
            "status": run.info["status"],
            "seconds": run.info["seconds"],
            "precision": run.precision,
            "best_epoch": run.best_epoch,
            "best_val_accuracy": run.best_val_accuracy,
            "weights_sha256": run.weights,
            "teachers": run.info.get("teachers", []),
            "start": run.info.get("start"),
            "rehearsed": run.info.get("rehearsed"),
        },
        "training_data": run.data,
        "metrics": {},
        "shifts": {},
        # Of the photographs themselves: whatever a network was trained to overlook.
        "colours": describe_colours(
            gaussian(colours(splits.train.images), splits.train.labels),
            splits.val.images,
            splits.val.labels,
        ),
        "largest_difference_to_keras": None,
        "evaluated_on": splits.fingerprint(),
        "versions": run.info["versions"],
        "license": {"code and weights": "MIT", "data": dataset.licence or "not known"},
        # Weights that began with others' are made of their photographs too.
        "credits": list(
            dict.fromkeys([*dataset.credits, *run.info.get("start", {}).get("credits", [])])
        ),
    }


def expected_shares(train: Split, recipe: Recipe) -> list[float]:
    """Return how common a network that was trained so takes each class to be, (K,)."""
    counts = np.bincount(train.labels, minlength=train.dataset.class_count)
    if recipe.train_class_weights:
        counts = (counts > 0).astype(int)
    shares: list[float] = (counts / counts.sum()).round(6).tolist()
    return shares


def judge(classifier: Classifier, splits: Splits, model: str) -> Json:
    """Return {"val" or "test": what an exported file scores there}."""
    metrics = {}
    for split in ("val", "test"):
        report = evaluate(classifier.predict_proba, splits, split, model, "onnx")
        parts = {name: report.metrics[name] for name in ("headline", "official", "per_class")}
        metrics[split] = parts | {"doubt": judge_doubt(classifier, splits.named()[split])}
    return metrics


def describe_int8(quantised: Quantised) -> Json:
    """Return what the card says of an int8 file before it is judged, or why there is none."""
    return {
        "published": quantised.graph is not None,
        "reason": quantised.reason,
        "range": quantised.calibration,
        "largest_pair": quantised.largest_pair,
        "divergence_on_val": quantised.divergences,
        "accuracy_on_val": quantised.accuracies,
        "metrics": {},
    }


def render_card(card: Json) -> str:
    """Return the card as a Markdown page."""
    stamp = f"> **{contract.SYNTHETIC_STAMP}**\n\n" if card["training_data"]["synthetic"] else ""
    dataset = unnamed(tuple(card["labels"]), BLOODMNIST.image_side)  # of earlier cards
    dataset = DataSet.from_dict(card["dataset"]) if "dataset" in card else dataset
    side, limits = dataset.image_side, f"- {dataset.limits}\n" if dataset.limits else ""
    return f"""# Model card: bloodkeras `{card["model"]}`

{stamp}A convolutional network that names the type of one cell in a {side}x{side} photograph.

| | |
| --- | --- |
| input | `{card["input"]}` |
| output | `{card["output"]}` |
| classes | {", ".join(card["labels"])} |
| preprocessing | {card["preprocessing"]} |
| parameters | {card["parameters"]:,} |
| multiply-adds an image | {card["multiply_adds"]:,} |
| training data | `{card["training_data"]["file"]}`, SHA-256 `{card["training_data"]["sha256"]}` |
| training | {describe_training(card)} |
| versions | {", ".join(f"{name} {number}" for name, number in card["versions"].items())} |

## How good it is

Of the ONNX file itself, through onnxruntime. The weights were selected on the validation split, on
which its probabilities differ from Keras' by at most {card["largest_difference_to_keras"]:.1e}:
kernels are stored in half precision, for half the file, and computed with in float32. In full
precision it is {contract.PARITY_TOLERANCE:.0e} at most. In brackets the bootstrap 95 % interval.

{_metrics_table(card["metrics"])}

On the test split, by class:

{_class_table(card["metrics"]["test"]["per_class"])}

## In eight bits

{_int8(card)}

{_photograph(card)}## When it does not answer

Each answer has a verdict. `unsure`: the confidence is below
{card["thresholds"]["confidence"]:.4f}, chosen so that, with 90 % certainty by the validation split,
{card["calibration"]["selective_accuracy"]:.1%} of what is accepted is right. `foreign`: the
{card["calibration"]["foreign_score"]} is above {card["thresholds"]["foreign"]:.4g}, below which
{card["calibration"]["true_acceptance"]:.0%} of the cells of the validation split stay.
Probabilities are calibrated by a temperature of {card["calibration"]["temperature"]:.3f}.
{_elsewhere(card["calibration"])}On the test split:

```text
{doubt_table(card["metrics"]["test"]["doubt"])}
```

The score was chosen among these, by AUROC of drawn images and of enlarged corners of the validation
split's images against the validation split. Of scores that are equally good the last is taken,
which looks at most:

{_score_table(card["calibration"]["aurocs_on_val"])}

## As another laboratory might show them

The images of the test split under simulated shifts, in two directions where a shift has two;
strength 5 is the strongest. They imitate light, stain, focus and framing one at a time, and are no
substitute for cells of another laboratory.

```text
{shifts_table(card["shifts"]) if card.get("shifts") else "not judged yet"}
```

## Use and limits

- For research, teaching and as a building block. **Not a medical device, not for diagnosis.**
{limits}- One cell an image, in the centre, at the magnification of {dataset.name}. On another
  microscope or stain its accuracy can collapse while its confidence stays high: measure on your
  own labelled cells before you trust it.

## Licence and credits

Code and weights: {card["license"]["code and weights"]}. Data: {card["license"]["data"]}.

{chr(10).join(f"- {line}" for line in card["credits"])}
"""


def render_page(card: Json, splits: Splits, classifier: Classifier) -> str:
    """Return the card as an HTML page, with what figures of test say better than tables."""
    report = evaluate(classifier.predict_proba, splits, "test", card["model"], "onnx")
    curve = risk_coverage(classifier.answer(splits.test.images), splits.test.labels)
    with tempfile.TemporaryDirectory() as folder:
        reliability, risk = Path(folder, "reliability.png"), Path(folder, "risk_and_coverage.png")
        figures.reliability(report, reliability)
        figures.risk_coverage(report, curve, card["metrics"]["test"]["doubt"], risk)
        drawn = render_figures((reliability, risk))
    return _page(card, drawn)


def rewrite_page(card: Json, page: str) -> str:
    """Return an HTML page of `render_page` with the text of another card; the figures stay."""
    _, _, drawn = page.rpartition(FIGURES)
    return _page(card, drawn.rstrip().removesuffix(END))


def _page(card: Json, drawn: str) -> str:
    text = render_markdown(render_card(card))
    return render_document(f"Model card: {card['model']}", text + FIGURES + drawn)


def describe_training(card: Json) -> str:
    """Say in a few words how the weights came about."""
    text = f"seed {card['recipe']['train_seed']}, {card['recipe']['train_epochs']} epochs"
    teachers = [
        f"`{each['run']}` ({each['image_side']} pixels, weights `{each['weights_sha256'][:12]}`)"
        for each in card["training"].get("teachers", [])
    ]
    text += f", taught by {', '.join(teachers)}" if teachers else ""
    if start := card["training"].get("start"):
        text += f", begun with the weights of {start['model']} (SHA-256 {start['sha256'][:12]})"
    if rehearsed := card["training"].get("rehearsed"):
        text += f", with cells of {rehearsed['file']} mixed in"
    inherits = card["recipe"].get("train_inherit")  # which earlier recipes do not say
    return f"{text}, begun with the first one's weights" if inherits else text


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    heads = list(heads)
    lines = (heads, ["---"] * len(heads), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _metrics_table(metrics: Json) -> str:
    splits = metrics.values()
    rows = []
    for name in metrics["test"]["headline"]:
        numbers = [split["headline"][name] for split in splits]
        cells = (f"{n['value']:.4f} [{n['low']:.4f}, {n['high']:.4f}]" for n in numbers)
        rows.append([name, *cells])
    for name in metrics["test"]["official"]:
        rows.append([f"MedMNIST's {name}", *(f"{s['official'][name]:.4f}" for s in splits)])
    return _table(["metric", *metrics], rows)


def _int8(card: Json) -> str:
    facts = card.get("int8", {})
    if not facts.get("published"):
        return f"There is no `{contract.INT8_FILE}`: {facts.get('reason') or 'none was made'}."
    files = card["metrics"], facts["metrics"]
    rows = [["bytes", *(f"{size:,}" for size in facts["bytes"].values())]]
    for split in facts["metrics"]:
        values = (metrics[split]["headline"]["accuracy"]["value"] for metrics in files)
        rows.append([f"accuracy on {split}", *(f"{value:.4f}" for value in values)])
        for verdict in contract.VERDICTS:
            shares = (metrics[split]["doubt"]["verdicts"][verdict] for metrics in files)
            rows.append([f"{verdict} on {split}", *(f"{share:.4f}" for share in shares)])
    return (
        f"`{contract.INT8_FILE}` is the same network with convolutions in int8 (static, per "
        f"channel; ranges of activations on training images: {facts['range']}, chosen on the "
        f"validation split). Temperature and thresholds are those of fp32. Weights have seven "
        f"bits: no two products sum to more than {facts['largest_pair']:,}, and 16 bits, in which "
        f"processors without VNNI add them, hold {contract.PAIR_LIMIT:,}; so it answers alike on "
        f"every processor.\n\n" + _table(["", "fp32", "int8"], rows)
    )


def _photograph(card: Json) -> str:
    """Return the section about photograph.onnx; earlier exports have none."""
    if "photograph" not in card:
        return ""
    facts = card["photograph"]
    rows = [[name, f"`{facts[name]}`"] for name in ("input", "output")]
    return f"""## Photographs as they are

`{contract.PHOTOGRAPH_FILE}` ({facts["bytes"]:,} bytes) is the network in fp32 with all that is done
to a photograph in its graph, in standard operators: the square that is kept, the resize, the JPEG
round trip, and after the network the verdict. It answers as `bloodkeras predict` does
(docs/photograph_file.md).

{_table(["", ""], rows)}

"""


def _elsewhere(calibration: Json) -> str:
    """Say so if the model is calibrated for other laboratories too."""
    if not calibration.get("elsewhere"):
        return ""
    return (
        "Temperature, score and the threshold of `unsure` go by cells of the validation split as\n"
        "other laboratories might show them, which is how the network was trained.\n"
    )


def _class_table(per_class: Json) -> str:
    rows = [
        [
            name,
            *(
                f"{scores[key]:.4f}" if scores["support"] else "not judged"
                for key in ("precision", "recall", "f1")
            ),
            str(scores["support"]),
        ]
        for name, scores in per_class.items()
    ]
    return _table(["class", "precision", "recall", "F1", "images"], rows)


def _score_table(aurocs: dict[str, dict[str, float]]) -> str:
    kinds = next(iter(aurocs.values()))
    rows = ([score, *(f"{found[kind]:.4f}" for kind in kinds)] for score, found in aurocs.items())
    return _table(["score", *kinds], rows)
