"""The benchmark on an export small enough to be quick: every column, ratio and reason is there."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bloodkeras import contract
from bloodkeras.benchmark import timing as measure
from bloodkeras.benchmark.engines import ENGINES, Source, missing, settings
from bloodkeras.benchmark.side_by_side import run_benchmark
from bloodkeras.benchmark.table import render_table, summarise
from bloodkeras.benchmark.timing import Setting
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.errors import UsageError

IMAGE = np.zeros((1, 28, 28, 3), np.uint8)


def sleepy(images: np.ndarray) -> np.ndarray:
    """Answer ten milliseconds a batch and a millisecond an image later."""
    time.sleep(0.01 + 0.001 * len(images))
    return np.zeros((len(images), 8), np.float32)


@pytest.fixture(scope="module")
def result(study_folder, drawn, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    source = Source(str(study_folder / "exports/simple"), "", str(work))
    return run_benchmark(source, drawn, rounds=1, seconds=0.02), work


def test_latency_and_rate_are_those_of_an_engine_that_sleeps():
    found = measure.latencies(sleepy, IMAGE, 0.15)
    assert len(found) >= measure.LEAST_CALLS
    assert 0.011 <= np.median(found) < 0.05
    images = np.repeat(IMAGE, 40, 0)
    slow, quick = (measure.images_per_second(sleepy, images, n, 0.2) for n in (1, 20))
    assert slow < 1 / 0.011 + 1
    assert 3 * slow < quick < 20 / 0.03 + 1


def test_a_core_multiplies_matrices_at_some_rate():
    assert 0.5 < measure.matmul_gflops(0.05) < 20_000


def test_peak_memory_is_this_process_own():
    code = (
        "from bloodkeras.benchmark.timing import peak_memory_mb as peak\n"
        "import numpy\nbefore = peak()\nhuge = numpy.ones(40_000_000)\nprint(before, peak())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    before, after = map(float, done.stdout.split())
    assert 20 < before < 300
    assert 300 < after - before < 340


def test_ratios_are_those_of_each_round():
    one, two = Setting(1), Setting(2)
    measured = {
        ("PyTorch", one): {"latency": [(4, 5), (9, 9)], 16: [100, 100], 64: [50, 50]},
        ("PyTorch", two): {"latency": [(6, 7), (6, 6)], 16: [120, 100], 64: [200, 400]},
        ("ONNX fp32", one): {"latency": [(2, 3), (3, 3)], 16: [10, 10], 64: [600, 800]},
        ("matmul", one): {"latency": [100.0, 120.0]},
    }
    found = summarise({"PyTorch": {}, "ONNX fp32": {}}, measured, multiply_adds=1_000_000)
    single, many = found["ratios"]
    assert (single["median"], single["least"], single["most"]) == (2.5, 2, 3)
    assert (many["median"], many["least"], many["most"]) == (2.5, 2, 3)
    torch = found["contenders"]["PyTorch"]
    assert (torch["fastest_single"], torch["fastest_batch"]) == ("2 threads", "2 threads")
    assert found["one_core"]["matmul_gflops"] == 110
    assert found["one_core"]["ONNX fp32"] == pytest.approx(2e6 / 2.5e-3 / 1e9)


def test_every_setting_is_tried_once():
    assert settings("ONNX fp32", 1) == [Setting(1)]
    assert settings("PyTorch", 2) == [Setting(1), Setting(2)]
    assert settings("ONNX int8", 2) == [Setting(1), Setting(2), Setting(2, spinning=True)]


def test_what_is_there_is_measured_and_what_is_not_is_named(result, study_folder):
    found, work = result
    assert {"ONNX fp32", "ONNX int8"} <= set(found["contenders"])
    assert "Keras predict" in found["left_out"]  # no run was given
    assert set(found["contenders"]) | set(found["left_out"]) == set(ENGINES)
    for name, file in (("ONNX fp32", contract.MODEL_FILE), ("ONNX int8", contract.INT8_FILE)):
        row = found["contenders"][name]
        assert row["file_bytes"] == (study_folder / "exports/simple" / file).stat().st_size
        assert 0 < row["cold_start_s"] < 30
        assert 20 < row["peak_memory_mb"] < 2000
        for lane in row["settings"].values():
            assert 0 < lane["p50_ms"] <= lane["p95_ms"]
            assert lane["best_images_s"] == max(lane["images_s"].values())
    assert json.loads((work / "benchmark.json").read_text(encoding="utf-8")) == found
    assert (work / "benchmark.txt").read_text(encoding="utf-8") == render_table(found) + "\n"


def test_accuracy_is_that_of_the_file(result, study_folder):
    card = json.loads((study_folder / "exports/simple/card.json").read_text(encoding="utf-8"))
    for name, metrics in (("ONNX fp32", card["metrics"]), ("ONNX int8", card["int8"]["metrics"])):
        expected = metrics["test"]["headline"]["accuracy"]["value"]
        assert result[0]["contenders"][name]["accuracy"] == pytest.approx(expected)


def test_no_rounds_are_wrong_usage(study_folder, drawn, tmp_path):
    source = Source(str(study_folder / "exports/simple"), "", str(tmp_path))
    with pytest.raises(UsageError, match="--rounds"):
        run_benchmark(source, drawn, rounds=0, seconds=1)


@pytest.mark.parametrize(("proved", "exact"), [(True, False), (False, True)])
def test_an_int8_file_is_run_as_the_classifier_runs_it(tmp_path, monkeypatch, proved, exact):
    """One of an earlier version, which nothing proves right everywhere, in the exact way."""
    folder = tmp_path / "tiny"
    shutil.copytree(Path(__file__).parents[2] / "exports/tiny", folder)
    if not proved:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        del card["int8"]["largest_pair"]
        (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    opened, honest = [], measure.open_session
    monkeypatch.setattr(
        measure, "open_session", lambda *words: opened.append(words[2]) or honest(*words)
    )
    images = np.zeros((1, *BLOODMNIST.image_shape), np.uint8)
    for name in ("ONNX int8", "ONNX fp32"):
        ENGINES[name].load(Source(str(folder), "", ""), Setting(1))(images)
    assert opened == [exact, False]


def test_what_pytorch_needs_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    reason = missing("PyTorch", Source("", "", str(tmp_path)))
    assert reason == f"there is no {tmp_path / 'pytorch.pt'}; benchmarks/torch_twin.py makes it"


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["simple", "deeper"])
def test_the_pytorch_twin_answers_as_keras_does(study_folder, drawn, name, fused, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from torch_twin import torch_twin

    from bloodkeras.training.models import predict_proba
    from bloodkeras.training.run_folder import load_run

    model = load_run(study_folder / "runs" / f"{name}-seed42").model
    twin = torch_twin(model, fused)
    pixels = torch.from_numpy(drawn.test.images).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        found = torch.softmax(twin(pixels), 1).numpy()
    assert np.abs(found - predict_proba(model, drawn.test.images)).max() < 1e-4
