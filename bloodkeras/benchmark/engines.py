"""The ways to run one network that `benchmark` compares, each imported only where it is used.

Flow: takes a name, an export and a run folder; gives predict_proba with a `Setting`. An engine
whose package or file is missing is left out, with the reason.
"""

import dataclasses
import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bloodkeras.benchmark.timing import PredictProba, Setting, onnx_predict, peak_memory_mb
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.contract import INT8_FILE, MODEL_FILE, OUTPUT_NAME, PRECISIONS, RUN_MODEL
from bloodkeras.named_types import Pixels, Probs

if TYPE_CHECKING:
    pass

# What benchmarks/torch_twin.py of a checkout makes; is batch normalisation folded?
TWIN_FILES = {"pytorch.pt": False, "pytorch-fused.pt": True}
MEMORY_BATCH = 64  # images at once while the peak memory is measured


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the network lies.

    Attributes:
        export: The folder of the export.
        run: The folder of the run it came from; "" if there is none.
        work: The folder of the results, where PyTorch's files are if somebody made them.
        image_side: Of the images that it takes, in pixels.
    """

    export: str
    run: str
    work: str
    image_side: int = BLOODMNIST.image_side


@dataclasses.dataclass(frozen=True)
class Engine:
    """One way to run the network.

    Attributes:
        load: (source, setting) -> predict_proba.
        file: source -> the file that holds the network.
        package: What must be importable.
        spins: Whether the setting's `spinning` means something to it.
    """

    load: Callable[[Source, Setting], PredictProba]
    file: Callable[[Source], Path]
    package: str
    spins: bool = False


def missing(name: str, source: Source) -> str:
    """Return why an engine cannot take part; "" if it can."""
    engine = ENGINES[name]
    if importlib.util.find_spec(engine.package) is None:
        return f"{engine.package} is not installed"
    file = engine.file(source)
    how = "; benchmarks/torch_twin.py makes it" * (file.name in TWIN_FILES)
    return "" if file.is_file() else f"there is no {file}{how}"


def settings(name: str, count: int) -> list[Setting]:
    """Return the settings to try on a machine of that many cores; one thread is the first."""
    found = [Setting(1)]
    if count > 1:
        found.append(Setting(count))
        found += [Setting(count, spinning=True)] * ENGINES[name].spins
    return found


def cold_start(name: str, source: Source, setting: Setting, images: int) -> None:
    """Print, as JSON, when the first answer came and how much memory many answers took.

    It is called in a fresh process, so that nothing is imported yet.
    """
    predict = ENGINES[name].load(source, setting)
    shape = source.image_side, source.image_side, 3
    predict(np.zeros((1, *shape), np.uint8))
    answered = time.time()
    for _ in range(0, images, MEMORY_BATCH):
        predict(np.zeros((MEMORY_BATCH, *shape), np.uint8))
    json.dump({"answered": answered, "peak_memory_mb": peak_memory_mb()}, sys.stdout)


def versions() -> dict[str, str]:
    """Return the versions of the packages that took part."""
    found = {}
    for name in ("keras", "tensorflow", "torch", "openvino", "onnxruntime", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _onnx(precision: str) -> Engine:
    def load(source: Source, setting: Setting) -> PredictProba:
        return onnx_predict(source.export, precision, setting)

    def file(source: Source) -> Path:
        return Path(source.export, PRECISIONS[precision])

    return Engine(load, file, "onnxruntime", spins=True)


def _openvino(file: str) -> Engine:
    def load(source: Source, setting: Setting) -> PredictProba:
        import openvino

        # OpenVINO would compute in bfloat16 where the processor can: that is another network.
        options = {
            "INFERENCE_NUM_THREADS": setting.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(Path(source.export, file), "CPU", options)
        place = [output.any_name for output in compiled.outputs].index(OUTPUT_NAME)
        request = compiled.create_infer_request()
        return lambda images: request.infer([images])[place]

    return Engine(load, lambda source: Path(source.export, file), "openvino")


def _keras_predict(source: Source, setting: Setting) -> PredictProba:
    import tensorflow as tf

    from bloodkeras.training.models import predict_proba
    from bloodkeras.training.run_folder import load_run

    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setting.threads)
    model = load_run(Path(source.run)).model
    return lambda images: predict_proba(model, images)


def _torch(file: str) -> Engine:
    def load(source: Source, setting: Setting) -> PredictProba:
        import torch

        torch.set_num_threads(setting.threads)
        twin = torch.load(Path(source.work, file), weights_only=False)  # one's own

        def predict(images: Pixels) -> Probs:
            with torch.inference_mode():
                pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()  # channels last
                found: Probs = torch.softmax(twin(pixels), 1).numpy()
                return found

        return predict

    return Engine(load, lambda source: Path(source.work, file), "torch")


def _keras_file(source: Source) -> Path:
    return Path(source.run or "no run folder", RUN_MODEL)


ENGINES = {
    "Keras predict": Engine(_keras_predict, _keras_file, "keras"),
    "PyTorch": _torch("pytorch.pt"),
    "PyTorch fused": _torch("pytorch-fused.pt"),
    "OpenVINO fp32": _openvino(MODEL_FILE),
    "OpenVINO int8": _openvino(INT8_FILE),
    "ONNX fp32": _onnx("float32"),
    "ONNX int8": _onnx("int8"),
}
