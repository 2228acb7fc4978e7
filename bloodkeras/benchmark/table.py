"""Turns the rounds of a benchmark into medians, ratios and a table.

Flow: takes the numbers of each engine, setting and round; gives a dictionary, and text.
"""

import statistics
from typing import Any

from bloodkeras.benchmark.timing import Measured, Setting
from bloodkeras.named_types import Json

ONE = Setting(1)
COLUMNS = (
    ("file MB", "file_bytes", 1e-6, ".2f"),
    ("accuracy", "accuracy", 1, ".4f"),
    ("cold s", "cold_start_s", 1, ".2f"),
    ("peak MB", "peak_memory_mb", 1, ".0f"),
)
# (what, engine over which): latency on one core, images/s on all; shown where both took part
RATIOS = (
    ("latency", "Keras predict", "ONNX fp32"),
    ("latency", "PyTorch", "ONNX fp32"),
    ("latency", "PyTorch fused", "ONNX fp32"),
    ("latency", "OpenVINO fp32", "ONNX fp32"),
    ("latency", "ONNX fp32", "ONNX int8"),
    ("images/s", "ONNX fp32", "PyTorch"),
    ("images/s", "ONNX fp32", "PyTorch fused"),
    ("images/s", "ONNX int8", "PyTorch"),
    ("images/s", "ONNX int8", "PyTorch fused"),
)


def summarise(rows: Json, measured: Measured, multiply_adds: int) -> Json:
    """Return medians over the rounds, the best settings, ratios and the rates of one core.

    Args:
        rows: {engine: what does not depend on a setting}.
        measured: {(engine, Setting): {"latency": [(p50, p95) in ms], batch: [images/s]}}; and
            {("matmul", Setting(1)): {"latency": [GFLOP/s]}}.
        multiply_adds: Of one image.
    """
    lanes: dict[str, dict[Setting, Json]] = {}
    for (name, setting), found in measured.items():
        if name != "matmul":
            lanes.setdefault(name, {})[setting] = _lane(found)
    matmul = statistics.median(measured["matmul", ONE]["latency"])
    result: Json = {"contenders": {}, "ratios": [], "one_core": {"matmul_gflops": matmul}}
    for name, settings in lanes.items():
        result["contenders"][name] = rows[name] | {
            "settings": {str(setting): lane for setting, lane in settings.items()},
            "fastest_single": str(min(settings, key=lambda s: settings[s]["p50_ms"])),
            "fastest_batch": str(max(settings, key=lambda s: settings[s]["best_images_s"])),
        }
        latency_s = settings[ONE]["p50_ms"] / 1e3
        result["one_core"][name] = 2 * multiply_adds / latency_s / 1e9
    for what, over, under in RATIOS:
        if over in lanes and under in lanes:
            rounds = (_rounds(what, measured, name, lanes[name]) for name in (over, under))
            values = [first / second for first, second in zip(*rounds, strict=True)]
            result["ratios"].append(
                {
                    "what": what,
                    "of": over,
                    "to": under,
                    "one_core": what == "latency",
                    "median": statistics.median(values),
                    "least": min(values),
                    "most": max(values),
                }
            )
    return result


def render_table(result: Json) -> str:
    """Return the summary as text."""
    machine = result["machine"]
    lines = [
        f"{result['model']} on {machine['processor']}, {machine['cores']} cores; "
        f"median of {result['rounds']} rounds of {result['seconds']:g} s",
    ]
    if machine["load"] > 0.5:
        lines.append(f"the machine was busy (load {machine['load']:.1f}): the numbers mislead")
    lines += ["", f"{'':16}" + "".join(f"{title:>10}" for title, *_ in COLUMNS)]
    for name, row in result["contenders"].items():
        lines.append(f"{name:16}" + "".join(_cell(row[key], *how) for _, key, *how in COLUMNS))
    lines += ["", f"{'':16}{'setting':>22}{'p50 ms':>9}{'p95 ms':>9}{'images/s':>11}  at batch"]
    for name, row in result["contenders"].items():
        for setting, lane in row["settings"].items():
            marks = "*" * (setting == row["fastest_single"])
            marks += "+" * (setting == row["fastest_batch"])
            lines.append(
                f"{name:16}{setting:>22}{lane['p50_ms']:>9.3f}{lane['p95_ms']:>9.3f}"
                f"{lane['best_images_s']:>11,.0f}  {lane['best_batch']} {marks}"
            )
    lines += ["* quickest for single images, + for many", ""]
    lines += map(_ratio_line, result["ratios"])
    rates = dict(result["one_core"])
    matmul = rates.pop("matmul_gflops")
    lines += ["", f"one core multiplies float32 matrices at {matmul:.1f} GFLOP/s;"]
    lines.append("2 * multiply-adds / latency of a single image there:")
    lines += [f"    {name:16}{rate:8.1f} GFLOP/s" for name, rate in rates.items()]
    return "\n".join(lines)


def _lane(found: dict[str | int, list[Any]]) -> Json:
    """Return the medians over the rounds of one engine and setting."""
    p50, p95 = (statistics.median(column) for column in zip(*found["latency"], strict=True))
    rates = {batch: statistics.median(v) for batch, v in found.items() if batch != "latency"}
    best = max(rates, key=rates.__getitem__)
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "images_s": {str(batch): rate for batch, rate in rates.items()},
        "best_batch": best,
        "best_images_s": rates[best],
    }


def _rounds(what: str, measured: Measured, name: str, lanes: dict[Setting, Json]) -> list[float]:
    """Return what each round measured: p50 on one core, or images a second at the best setting."""
    if what == "latency":
        return [p50 for p50, _ in measured[name, ONE]["latency"]]
    setting = max(lanes, key=lambda setting: lanes[setting]["best_images_s"])
    return measured[name, setting][lanes[setting]["best_batch"]]


def _cell(value: float | None, factor: Any, form: Any) -> str:
    return f"{'-' if value is None else format(value * factor, form):>10}"


def _ratio_line(ratio: Json) -> str:
    where = "one core, batch 1" if ratio["one_core"] else "all cores, best batch"
    spread = f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"
    if ratio["what"] == "latency":
        return f"{where}: {ratio['to']} is {spread} times as fast as {ratio['of']}"
    return f"{where}: {ratio['of']} answers {spread} times the images of {ratio['to']}"
