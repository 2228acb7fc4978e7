"""The ways to run one network that `benchmark` compares, each imported only where it is used.

Flow: takes a name, an export and a run folder; gives predict_proba with a `Setting`. An engine
whose package or file is missing is left out, with the reason.
"""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bloodkeras.benchmark.timing import PredictProba, Setting, onnx_predict, peak_memory_mb
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.contract import INT8_FILE, MODEL_FILE, OUTPUT_NAME, RUN_MODEL
from bloodkeras.named_types import Pixels, Probs

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
        package: What must be importable.
        folder: Which of a `Source`'s folders holds the network.
        name: Of the file there.
        opens: (file, setting) -> predict_proba.
        spins: Whether the setting's `spinning` means something to it.
    """

    package: str
    folder: str
    name: str
    opens: Callable[[Path, Setting], PredictProba]
    spins: bool = False

    def file(self, source: Source) -> Path:
        """Return the file that holds the network."""
        return Path(getattr(source, self.folder) or f"no {self.folder} folder", self.name)

    def load(self, source: Source, setting: Setting) -> PredictProba:
        """Return the network's predict_proba."""
        return self.opens(self.file(source), setting)


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
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _openvino(file: Path, setting: Setting) -> PredictProba:
    import openvino

    # OpenVINO would compute in bfloat16 where the processor can: that is another network.
    options = {
        "INFERENCE_NUM_THREADS": setting.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(file, "CPU", options)
    place = [output.any_name for output in compiled.outputs].index(OUTPUT_NAME)
    request = compiled.create_infer_request()
    return lambda images: request.infer([images])[place]


def _keras(file: Path, setting: Setting) -> PredictProba:
    import tensorflow as tf

    from bloodkeras.training.models import predict_proba
    from bloodkeras.training.run_folder import load_run

    tf.config.threading.set_intra_op_parallelism_threads(setting.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setting.threads)
    model = load_run(file.parent).model
    return lambda images: predict_proba(model, images)


def _torch(file: Path, setting: Setting) -> PredictProba:
    import torch

    torch.set_num_threads(setting.threads)
    twin = torch.load(file, weights_only=False)  # one's own

    def predict(images: Pixels) -> Probs:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()  # channels last
            found: Probs = torch.softmax(twin(pixels), 1).numpy()
            return found

    return predict


ENGINES = {
    "Keras predict": Engine("keras", "run", RUN_MODEL, _keras),
    "PyTorch": Engine("torch", "work", "pytorch.pt", _torch),
    "PyTorch fused": Engine("torch", "work", "pytorch-fused.pt", _torch),
    "OpenVINO fp32": Engine("openvino", "export", MODEL_FILE, _openvino),
    "OpenVINO int8": Engine("openvino", "export", INT8_FILE, _openvino),
    "ONNX fp32": Engine("onnxruntime", "export", MODEL_FILE, onnx_predict, spins=True),
    "ONNX int8": Engine("onnxruntime", "export", INT8_FILE, onnx_predict, spins=True),
}
