"""Puts the models side by side, says in words what the numbers say, and makes one page of it.

Flow: takes runs and their Keras and ONNX reports; gives results.txt, results.json, report.html.
"""

import dataclasses
import html
from pathlib import Path

import numpy as np

from bloodkeras.answers.page_style import NO_DEVICE, table
from bloodkeras.contract import SYNTHETIC_STAMP
from bloodkeras.dataset import DataSet
from bloodkeras.evaluation.evaluate import Report, classification_table
from bloodkeras.evaluation.metrics import HEADLINE
from bloodkeras.export.document import render_document, render_figures, render_preformatted
from bloodkeras.named_types import Json
from bloodkeras.recipe import Recipe
from bloodkeras.training.run_folder import Run
from bloodkeras.whole_file import write_json, write_text


def write_report(
    runs: list[Run], keras: list[Report], onnx: list[Report | None], eda: Path, folder: Path
) -> str:
    """Write the report of some models, the baseline first; return the text of results.txt.

    Args:
        runs: One a model.
        keras: Their reports on test, in the same order.
        onnx: Those of the files exported from them; None where there is none.
        eda: The folder of the exploration's figures and audit.
        folder: Where to write.
    """
    dataset = runs[0].dataset
    results = {
        "dataset": dataset.as_dict(),
        "models": [_model_results(*model) for model in zip(runs, keras, onnx, strict=True)],
        "gain": gain(keras),
        "interpretation": interpret_all(keras),
    }
    text = render_text(results, keras)
    write_json(folder / "results.json", results)
    write_text(folder / "results.txt", text)
    explored = ("sample_images", "class_distribution", "augmentation")
    figures = {
        "Confusion matrices": [_evaluation_figure(run, "confusion_matrix") for run in runs],
        "Learning curves": [
            run.folder / f"learning_curves_{run.recipe.model_name}.png" for run in runs
        ],
        "The surest mistakes": [_evaluation_figure(run, "mistakes") for run in runs],
        "The data": [eda / f"{name}.png" for name in explored],
    }
    audit = (eda / "audit.txt").read_text(encoding="utf-8") if (eda / "audit.txt").exists() else ""
    write_text(folder / "report.html", render_page(results, keras, text, audit, figures))
    return text


def gain(reports: list[Report]) -> Json:
    """Return how much the most accurate of the other models gains over the baseline, the first.

    Returns:
        "model": its name; "by": {headline number: difference}. Empty for the baseline alone.
    """
    if len(reports) == 1:
        return {}
    baseline, *others = reports
    best = max(others, key=lambda report: report.value("accuracy"))
    by = {name: best.value(name) - baseline.value(name) for name in HEADLINE}
    return {"model": best.model, "by": by}


def interpret_all(reports: list[Report]) -> list[str]:
    """Say in sentences how each of the other models compares with the baseline, the first."""
    baseline, *others = reports
    sentences = [sentence for report in others for sentence in interpret(baseline, report)]
    return sentences or [_confused_pair(baseline)]


def interpret(baseline: Report, improved: Report) -> list[str]:
    """Say in sentences what the numbers of two models on the same images say."""
    gain = improved.value("accuracy") - baseline.value("accuracy")
    wrong = [int((r.probs.argmax(1) != r.labels).sum()) for r in (baseline, improved)]
    sentences = [
        f"{improved.model} gets {improved.value('accuracy'):.2%} of the {len(improved.labels):,} "
        f"{improved.split} images right, {baseline.model} {baseline.value('accuracy'):.2%}: "
        f"{gain * 100:+.2f} points, {wrong[1]} mistakes instead of {wrong[0]}."
    ]
    by_class = _gains_by_class(baseline, improved)
    better = [name for name in list(by_class)[:2] if by_class[name] > 0]
    if better:
        best = " and ".join(f"{name} ({by_class[name]:+.3f} F1)" for name in better)
        sentences.append(f"What improved most: {best}.")
    worse = [name for name in by_class if by_class[name] < 0]
    if worse:
        listed = ", ".join(f"{name} ({by_class[name]:+.3f})" for name in worse)
        sentences.append(f"Worse than with {baseline.model}: {listed}.")
    sentences.append(_confused_pair(improved))
    return sentences


def _gains_by_class(baseline: Report, improved: Report) -> dict[str, float]:
    """Return what each class gains in F1, the largest gain first."""
    before, after = baseline.metrics["per_class"], improved.metrics["per_class"]
    gains = {name: after[name]["f1"] - before[name]["f1"] for name in improved.class_names}
    return dict(sorted(gains.items(), key=lambda pair: -pair[1]))


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


def render_text(results: Json, reports: list[Report]) -> str:
    """Return results.txt."""
    models = results["models"]
    data = models[0]["data"]
    title = f"{results['dataset']['name']} study"
    lines = [title, "=" * len(title)]
    lines += [SYNTHETIC_STAMP] if data["synthetic"] else []
    lines += ["", f"data: {_described(data)}", f"SHA-256: {data['sha256']}", ""]
    names = [model["name"] for model in models]
    lines += [_row("configuration", names), *(_row(*row) for row in _settings(models))]
    lines += ["", _row("test split", _score_heads(results))]
    lines += [_row(*row) for row in _scores(results)]
    lines += ["", *results["interpretation"]]
    for report in reports:
        table = classification_table(report).rstrip()
        lines += ["", f"{report.model} on {report.split}", "", table]
    return "\n".join(lines)


def _described(data: Json) -> str:
    sizes = ", ".join(f"{name} {size:,}" for name, size in data["sizes"].items())
    return f"{data['file']} ({sizes})"


def _settings(models: list[Json]) -> list[tuple[str, list[str]]]:
    """Return what each model is: the name of a setting, and a cell a model."""
    used = _settings_used([model["recipe"] for model in models])
    return [
        *((name, [str(model["recipe"][name]) for model in models]) for name in used),
        *(
            (name, [f"{model[name]:,}" for model in models])
            for name in ("parameters", "multiply_adds")
        ),
        ("training minutes", [f"{model['seconds'] / 60:.1f}" for model in models]),
        ("kept epoch", [str(model["best_epoch"]) for model in models]),
    ]


def _score_heads(results: Json) -> list[str]:
    names = [model["name"] for model in results["models"]]
    return [*names, f"gain of {results['gain']['model']}"] if results["gain"] else names


def _scores(results: Json) -> list[tuple[str, list[str]]]:
    """Return how good each model is: the name of a number, a cell a model, and the gain."""
    models, rows = results["models"], []
    for name in HEADLINE:
        numbers = [model["keras"]["headline"][name] for model in models]
        gained = [f"{results['gain']['by'][name]:+.4f}"] if results["gain"] else []
        rows.append((name, [f"{n['value']:.4f}" for n in numbers] + gained))
        rows.append(("  95 % interval", [f"{n['low']:.4f}-{n['high']:.4f}" for n in numbers]))
    for name in ("AUC", "ACC"):
        cells = [f"{model['keras']['official'][name]:.4f}" for model in models]
        rows.append((f"MedMNIST's {name}", cells))
    return [*rows, ("same labels by ONNX", [_agreement(model) for model in models])]


def render_page(
    results: Json, reports: list[Report], text: str, audit: str, figures: dict[str, list[Path]]
) -> str:
    """Return one page that needs no other file: the answer first, the full text last.

    Args:
        results: What results.json holds.
        text: What results.txt holds.
        audit: Of the data, as text; "" for none.
        figures: {heading: PNGs}; those that do not exist are left out.
    """
    data = results["models"][0]["data"]
    stamp = f"<p class=warn>{SYNTHETIC_STAMP}</p>\n" if data["synthetic"] else ""
    dataset = DataSet.from_dict(results["dataset"])
    credits = "".join(f"<li>{html.escape(line)}</li>" for line in dataset.credits)
    licence = html.escape(dataset.licence or "no known licence")
    shown = {title: [path for path in paths if path.exists()] for title, paths in figures.items()}
    sections = {
        **{title: render_figures(paths) for title, paths in shown.items() if paths},
        "All numbers": _number_tables(results),
        **({"Audit of the data": render_preformatted(audit)} if audit else {}),
        "Data and credits": f"<p>{html.escape(_described(data))}; {licence}.</p>\n"
        f"<ul>{credits}</ul>\n",
        "Full text": render_preformatted(text),
    }
    body = "".join(f"<h2>{title}</h2>\n{content}" for title, content in sections.items())
    title = f"<header><h1>{html.escape(dataset.name)} study</h1>\n{stamp}{NO_DEVICE}</header>\n"
    return render_document(f"{dataset.name} study", title + _opening(reports) + body, STYLE)


def _opening(reports: list[Report]) -> str:
    """Return the answer: how good each model is, what was gained, and in which classes."""
    baseline, *others = reports
    best = max(others, key=lambda report: report.value("accuracy"), default=baseline)
    said = interpret(baseline, best) if others else interpret_all(reports)
    heading = "Which classes improved <small>F1, most first</small>" if others else "F1 by class"
    return (
        f"<div class=answer>\n{''.join(_answer(report, baseline) for report in reports)}</div>\n"
        + "".join(f"<p>{html.escape(sentence)}</p>\n" for sentence in said)
        + f"<h2>{heading}</h2>\n{_class_table(reports, best)}"
    )


def _number_tables(results: Json) -> str:
    """Return all scores and all settings as tables."""
    names, heads = [model["name"] for model in results["models"]], _score_heads(results)
    # Only some numbers have a gain.
    scores = [(name, *cells, *[""] * (len(heads) - len(cells))) for name, cells in _scores(results)]
    settings = [(name, *cells) for name, cells in _settings(results["models"])]
    return table(["test split", *heads], scores) + table(["configuration", *names], settings)


STYLE = """.answer { display: grid; gap: 14px; margin: 18px 0;
          grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); }
.answer div { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
              padding: 12px 16px; break-inside: avoid; }
.answer b { display: block; font-size: 30px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.answer span { display: block; color: var(--soft); font-size: 13px; }
.answer .gain { color: var(--accepted); font-weight: 600; }
"""


def _answer(report: Report, baseline: Report) -> str:
    """Return a model's accuracy with its interval, and the gain over the baseline."""
    found, wrong = report.metrics["headline"]["accuracy"], report.probs.argmax(1) != report.labels
    gained = 100 * (found["value"] - baseline.value("accuracy"))
    return (
        f"<div><strong>{html.escape(report.model)}</strong><b>{found['value']:.2%}</b>"
        f"<span>accuracy, 95 % interval {found['low']:.2%} to {found['high']:.2%}</span>"
        f"<span>{wrong.sum():,} of {len(wrong):,} {report.split} images wrong</span>"
        + f"<span class={'gain' if gained > 0 else 'warn'}>{gained:+.2f} points compared with "
        f"{html.escape(baseline.model)}</span>" * (report is not baseline) + "</div>\n"
    )


def _class_table(reports: list[Report], best: Report) -> str:
    """Return the table of each class' F1, by what the best model gains over the first."""
    gained = best is not reports[0]
    rows = []
    for name, gain in _gains_by_class(reports[0], best).items():
        cells = [f"{report.metrics['per_class'][name]['f1']:.4f}" for report in reports]
        sign = "\u25b2 " * (gain > 0) + "\u25bc " * (gain < 0)  # up, down: seen without colour
        rows.append([name, *cells, *[f"{sign}{gain:+.4f}"] * gained])
    heads = ["class", *(report.model for report in reports)]
    return table([*heads, *[f"gain of {best.model}"] * gained], rows)


def _model_results(run: Run, keras: Report, onnx: Report | None) -> Json:
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


def _settings_used(recipes: list[Json]) -> list[str]:
    """Return the settings that some model has otherwise than switched off."""
    defaults = dataclasses.asdict(Recipe(model_name=""))
    del defaults["model_name"], defaults["model_architecture"]
    return [
        name
        for name, default in defaults.items()
        if default or any(recipe[name] != default for recipe in recipes)
    ]


def _agreement(model: Json) -> str:
    if model["agreement"] is None:
        return "no export"
    return f"{model['agreement']['same_labels']:,}/{model['agreement']['images']:,}"


def _evaluation_figure(run: Run, kind: str) -> Path:
    return run.folder / "evaluation" / f"{kind}_{run.recipe.model_name}.png"


def _row(name: str, cells: list[str]) -> str:
    return f"{name:32}" + "".join(f"{cell:>18}" for cell in cells)
