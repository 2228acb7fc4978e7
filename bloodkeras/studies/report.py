"""Puts the models side by side, says in words what the numbers say, and makes one page of it.

Flow: takes runs and their Keras and ONNX reports; gives results.txt, results.json, report.html.
"""

import dataclasses
import html
import json
from pathlib import Path

import numpy as np

from bloodkeras.contract import SYNTHETIC_STAMP
from bloodkeras.dataset import DataSet
from bloodkeras.evaluation.evaluate import Report, classification_table
from bloodkeras.export.document import render_document, render_figure, render_preformatted
from bloodkeras.recipe import Recipe
from bloodkeras.training.train import Run


def write_report(
    runs: list[Run], keras: list[Report], onnx: list[Report | None], eda: Path, folder: Path
) -> str:
    """Write the report of some models, the baseline first.

    Args:
        runs: One a model.
        keras: Their reports on test, in the same order.
        onnx: The reports on test of the files exported from them, in the same order.
        eda: The folder of the exploration's figures and audit.
        folder: Where to write.

    Returns:
        The text of results.txt.
    """
    dataset = runs[0].dataset
    results = {
        "dataset": dataset.as_dict(),
        "models": [_model_results(*model) for model in zip(runs, keras, onnx, strict=True)],
        "gain": gain(keras),
        "interpretation": interpret_all(keras),
    }
    text = render_text(results, keras)
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (folder / "results.txt").write_text(text + "\n", encoding="utf-8")
    figures = [
        *(eda / f"{name}.png" for name in ("sample_images", "class_distribution", "augmentation")),
        *(run.folder / f"learning_curves_{run.recipe.model_name}.png" for run in runs),
        *(_evaluation_figure(run, "confusion_matrix") for run in runs),
        *(_evaluation_figure(run, "mistakes") for run in runs),
    ]
    audit = (eda / "audit.txt").read_text(encoding="utf-8") if (eda / "audit.txt").exists() else ""
    page = render_page(text, audit, [figure for figure in figures if figure.exists()], dataset)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return text


COMPARED = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "auc", "ece")


def gain(reports: list[Report]) -> dict:
    """Return how much the most accurate of the other models gains over the baseline.

    Args:
        reports: The baseline's first.

    Returns:
        "model": its name; "by": {headline number: difference}. Empty for the baseline alone.
    """
    if len(reports) == 1:
        return {}
    baseline, *others = reports
    best = max(others, key=lambda report: report.value("accuracy"))
    by = {name: best.value(name) - baseline.value(name) for name in COMPARED}
    return {"model": best.model, "by": by}


def interpret_all(reports: list[Report]) -> list[str]:
    """Say in sentences how each of the other models compares with the baseline, the first."""
    baseline, *others = reports
    sentences = [sentence for report in others for sentence in interpret(baseline, report)]
    return sentences or [_confused_pair(baseline)]


def interpret(baseline: Report, improved: Report) -> list[str]:
    """Say in sentences what the numbers of two models say.

    Args:
        baseline: The simpler model's report.
        improved: The better one's, on the same images.
    """
    gain = improved.value("accuracy") - baseline.value("accuracy")
    wrong = [int((r.probs.argmax(1) != r.labels).sum()) for r in (baseline, improved)]
    sentences = [
        f"{improved.model} gets {improved.value('accuracy'):.2%} of the {len(improved.labels):,} "
        f"{improved.split} images right, {baseline.model} {baseline.value('accuracy'):.2%}: "
        f"{gain * 100:+.2f} points, {wrong[1]} mistakes instead of {wrong[0]}."
    ]
    by_class = {
        name: improved.metrics["per_class"][name]["f1"] - baseline.metrics["per_class"][name]["f1"]
        for name in improved.class_names
    }
    ranked = sorted(by_class, key=by_class.get, reverse=True)
    best = " and ".join(f"{name} ({by_class[name]:+.3f} F1)" for name in ranked[:2])
    sentences.append(f"The classes that changed most for the better are {best}.")
    worse = [name for name in ranked if by_class[name] < 0]
    if worse:
        listed = ", ".join(f"{name} ({by_class[name]:+.3f})" for name in worse)
        sentences.append(f"Worse than with {baseline.model}: {listed}.")
    sentences.append(_confused_pair(improved))
    return sentences


def _confused_pair(report: Report) -> str:
    """Say which two classes are taken for each other most often."""
    counts = np.array(report.metrics["confusion"])
    both = np.triu(counts + counts.T, k=1)
    first, second = np.unravel_index(both.argmax(), both.shape)
    mistakes = counts.sum() - np.trace(counts)
    if not mistakes:
        return f"{report.model} makes no mistake."
    if counts[second, first] > counts[first, second]:
        first, second = second, first
    both, names = both + both.T, report.class_names
    return (
        f"{report.model} confuses {names[first]} and {names[second]} most often: "
        f"{both[first, second]} of its {mistakes} mistakes, {counts[first, second]} of them "
        f"{names[first]} called {names[second]}."
    )


def render_text(results: dict, reports: list[Report]) -> str:
    """Return results.txt."""
    models = results["models"]
    data = models[0]["data"]
    sizes = ", ".join(f"{name} {size:,}" for name, size in data["sizes"].items())
    title = f"{results['dataset']['name']} study"
    lines = [title, "=" * len(title)]
    lines += [SYNTHETIC_STAMP] if data["synthetic"] else []
    lines += ["", f"data: {data['file']} ({sizes})", f"SHA-256: {data['sha256']}", ""]
    lines.append(_row("configuration", [model["name"] for model in models]))
    for name in _settings_used([model["recipe"] for model in models]):
        lines.append(_row(name, [str(model["recipe"][name]) for model in models]))
    for name in ("parameters", "multiply_adds"):
        lines.append(_row(name, [f"{model[name]:,}" for model in models]))
    lines.append(_row("training minutes", [f"{model['seconds'] / 60:.1f}" for model in models]))
    lines.append(_row("kept epoch", [str(model["best_epoch"]) for model in models]))
    best = results["gain"].get("model")
    heading = f"gain of {best}" if best else ""
    lines += ["", _row("test split", [model["name"] for model in models], heading)]
    for name in COMPARED:
        cells = [f"{model['keras']['headline'][name]['value']:.4f}" for model in models]
        gained = f"{results['gain']['by'][name]:+.4f}" if best else ""
        lines.append(_row(name, cells, gained))
        intervals = [model["keras"]["headline"][name] for model in models]
        lines.append(
            _row("  95 % interval", [f"{i['low']:.4f}-{i['high']:.4f}" for i in intervals])
        )
    for name in ("AUC", "ACC"):
        cells = [f"{model['keras']['official'][name]:.4f}" for model in models]
        lines.append(_row(f"MedMNIST's {name}", cells))
    lines.append(_row("same labels by ONNX", [_agreement(model) for model in models]))
    lines += ["", *results["interpretation"]]
    for report in reports:
        lines += [
            "",
            f"{report.model} on {report.split}",
            "",
            classification_table(report).rstrip(),
        ]
    return "\n".join(lines)


def render_page(text: str, audit: str, figures: list[Path], dataset: DataSet) -> str:
    """Return one page that needs no other file: the text, the audit, and the figures inside it."""
    credits = "".join(f"<li>{html.escape(line)}</li>" for line in dataset.credits)
    name, licence = html.escape(dataset.name), html.escape(dataset.licence or "no known licence")
    parts = [
        f"<h1>{name} study</h1>\n<p>Not for diagnosis. Data under {licence}:</p>"
        f"<ul>{credits}</ul>\n",
        render_preformatted(text),
    ]
    if audit:
        parts.append(f"<h2>Audit of the data</h2>\n{render_preformatted(audit)}")
    for figure in figures:
        title = html.escape(figure.stem.replace("_", " "))
        parts.append(f"<h2>{title}</h2>\n{render_figure(figure)}")
    return render_document(f"{dataset.name} study", "".join(parts))


def _model_results(run: Run, keras: Report, onnx: Report | None) -> dict:
    agreement = None
    if onnx is not None:
        same = int((keras.probs.argmax(1) == onnx.probs.argmax(1)).sum())
        agreement = {"same_labels": same, "images": len(keras.labels)}
    return {
        "name": run.recipe.model_name,
        "recipe": dataclasses.asdict(run.recipe),
        "data": run.data,
        **{key: run.info[key] for key in ("parameters", "multiply_adds", "seconds")},
        "best_epoch": run.best_epoch,
        "keras": keras.metrics,
        "onnx": onnx.metrics if onnx is not None else None,
        "agreement": agreement,
    }


def _settings_used(recipes: list[dict]) -> list[str]:
    """Return the settings that some model has otherwise than switched off."""
    defaults = dataclasses.asdict(Recipe(model_name=""))
    del defaults["model_name"]
    return [
        name
        for name, default in defaults.items()
        if default or any(recipe[name] != default for recipe in recipes)
    ]


def _agreement(model: dict) -> str:
    if model["agreement"] is None:
        return "no export"
    return f"{model['agreement']['same_labels']:,}/{model['agreement']['images']:,}"


def _evaluation_figure(run: Run, kind: str) -> Path:
    return run.folder / "evaluation" / f"{kind}_{run.recipe.model_name}.png"


def _row(name: str, cells: list[str], last: str = "") -> str:
    return f"{name:32}" + "".join(f"{cell:>18}" for cell in cells) + f"{last:>18}".rstrip()
