"""Compares photograph.onnx in several runtimes with `predict`, photograph by photograph.

Flow: takes an export and folders of photographs; gives a table, a row a runtime and precision: the
largest and the mean difference of a pixel, how many labels and verdicts are the same, and the time.

    python benchmarks/photograph_runtimes.py exports/residual FOLDER ... --drawn 100
        --packages ort117 ov --node node_modules --one-in 10

--packages names folders that `pip install --target` made, with onnxruntime or openvino in them;
--node one of npm's. To make them, `pip install --target ort117 'onnxruntime==1.17.3' 'numpy<2'`,
`pip install --target ov openvino`, `npm install --ignore-scripts onnxruntime-node onnxruntime-web`.
The photographs of the folders go through the runtimes one at a time, in one thread each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from bloodkeras.answers.classifier import Classifier
from bloodkeras.contract import PRECISIONS, VERDICTS
from bloodkeras.errors import BloodkerasError
from bloodkeras.export.photograph import with_photograph
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import IMAGE_SUFFIXES, doubt_of, medmnist_pixels
from bloodkeras.images.synthetic import draw_arrays

JAVASCRIPT = Path(__file__).with_suffix(".mjs")
# Runs in another environment's Python, which may have no bloodkeras: numpy and the runtime alone.
WORKER = """
import json, struct, sys, time
import numpy as np
runtime, model, photographs, answers = sys.argv[1:]
if runtime == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    ask = lambda feeds: session.run(["probs", "verdict", "pixels"], feeds)
else:
    import openvino
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    def ask(feeds):
        found = compiled(feeds)
        return [found[name] for name in ("probs", "verdict", "pixels")]
content, at, count = open(photographs, "rb").read(), 0, 0
with open(answers, "wb") as out:
    started = time.perf_counter()
    while at < len(content):
        height, width = struct.unpack_from("<ii", content, at)
        photograph = np.frombuffer(content, np.uint8, height * width * 3, at + 8)
        at, count = at + 8 + photograph.size, count + 1
        feeds = {"photograph": photograph.reshape(height, width, 3), "side": np.zeros(1, np.int32)}
        probs, verdict, pixels = ask(feeds)
        out.write(struct.pack("<ii", int(probs.argmax()), int(verdict[0])) + pixels.tobytes())
print(json.dumps({"milliseconds": (time.perf_counter() - started) / count * 1000}))
"""


def main() -> None:
    """Print the table, and each photograph that is answered otherwise below its row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("export")
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--drawn", type=int, default=0, help="how many drawn ones of odd sizes")
    parser.add_argument("--one-in", type=int, default=1, help="of the photographs in the folders")
    parser.add_argument("--packages", nargs="*", default=[])
    parser.add_argument("--node", default="", help="a folder node_modules")
    chosen = parser.parse_args()
    photographs = read(chosen.folders)[:: chosen.one_in] + draw(chosen.drawn)
    print(f"{len(photographs):,} photographs, {chosen.export}")
    print("| runtime | | pixels: largest, mean | labels | verdicts | ms each |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder, "photographs")
        packed.write_bytes(b"".join(map(pack, (rgb for _, rgb in photographs))))
        for precision, file in PRECISIONS.items():
            if not Path(chosen.export, file).exists():
                continue
            expected = predicted(chosen.export, precision, photographs)
            classifier = Classifier.load(chosen.export)
            network = onnx.load(Path(chosen.export, file))
            model = Path(folder, file)
            onnx.save(with_photograph(network, classifier.thresholds), model)
            for name, words, packages in runtimes(chosen.packages, chosen.node):
                said, found = answered(
                    words, packages, model, packed, classifier.dataset.image_side
                )
                print(row(name, precision, expected, found, said), flush=True)
                explain(photographs, expected, found)


def read(folders: list[str]) -> list[tuple[str, np.ndarray]]:
    """Return the photographs in folders, by name, as decoded: uint8 (H, W, 3)."""
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("*"))]
    paths = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    return [
        (f"{path.parent.name}/{path.name}", np.asarray(Image.open(path).convert("RGB")))
        for path in paths
    ]


def draw(count: int) -> list[tuple[str, np.ndarray]]:
    """Return drawn cells, enlarged to odd sizes."""
    if not count:
        return []
    cells = draw_arrays({"train": 8, "val": 8, "test": count})["test_images"]
    rng, found = np.random.default_rng(0), []
    for place, cell in enumerate(cells):
        width, height = (int(side) for side in rng.integers(20, 700, 2))
        height = int(np.clip(height, width / 3, width * 3))
        image = Image.fromarray(cell).resize((width, height), Image.Resampling.BICUBIC)
        found.append((f"drawn {place} {width}x{height}", np.asarray(image)))
    return found


def pack(rgb: np.ndarray) -> bytes:
    """Return a photograph with its sides before it."""
    return np.int32(rgb.shape[:2]).tobytes() + rgb.tobytes()


def predicted(export: str, precision: str, photographs: list) -> list[tuple]:
    """Return what `predict` says: (label, verdict, pixels) of each."""
    classifier = Classifier.load(export, threads=1, precision=precision)
    framing = Framing(image_side=classifier.dataset.image_side)
    found = []
    for _, rgb in photographs:
        pixels = medmnist_pixels(Image.fromarray(rgb), framing)
        answer = classifier.answer(np.asarray(pixels)[None]).doubted([doubt_of(pixels)])
        verdict = VERDICTS.index(str(answer.verdicts[0]))
        found.append((int(answer.probs.argmax()), verdict, np.asarray(pixels)))
    return found


def runtimes(packages: list[str], node: str) -> list[tuple[str, list[str], str]]:
    """Return (name, command, folder of its packages) of all that are to be asked."""
    found = []
    for folder in ["", *packages]:
        for name in ("onnxruntime", "openvino"):
            ask = f"import {name}; print({name}.__version__.split('-')[0], {name}.__file__)"
            done = subprocess.run(
                [sys.executable, "-c", ask],
                capture_output=True,
                encoding="utf-8",
                env=with_packages(folder),
            )
            version, _, place = done.stdout.strip().partition(" ")
            if version and place.startswith(str(Path(folder).resolve()) if folder else ""):
                found.append(
                    (f"Python, {name} {version}", [sys.executable, "-c", WORKER, name], folder)
                )
    for name in ("onnxruntime-node", "onnxruntime-web") if node else ():
        package = Path(node).resolve() / name
        version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
        found.append((f"Node, {name} {version}", ["node", str(JAVASCRIPT), str(package)], ""))
    return found


def with_packages(folder: str) -> dict[str, str]:
    """Return the environment in which Python finds a folder's packages first."""
    return os.environ | {"PYTHONPATH": str(Path(folder).resolve())} if folder else dict(os.environ)


def answered(words: list[str], packages: str, model: Path, packed: Path, side: int) -> tuple:
    """Return what a runtime prints, and its answers: (label, verdict, pixels) of each.

    Raises:
        BloodkerasError: It failed.
    """
    answers = packed.with_name("answers")
    done = subprocess.run(
        [*words, str(model), str(packed), str(answers)],
        capture_output=True,
        encoding="utf-8",
        env=with_packages(packages),
    )
    if done.returncode:
        raise BloodkerasError(f"{words[0]} failed: {done.stderr.strip()[-2000:]}")
    kind = np.dtype([("label", "<i4"), ("verdict", "<i4"), ("pixels", "u1", (side, side, 3))])
    return json.loads(done.stdout.splitlines()[-1]), np.fromfile(answers, kind)


def row(name: str, precision: str, expected: list, found: np.ndarray, said: dict) -> str:
    """Return a line of the table."""
    seen = np.array([pixels for *_, pixels in expected], int)
    off = np.abs(found["pixels"] - seen)
    labels = np.mean(found["label"] == [label for label, *_ in expected])
    verdicts = np.mean(found["verdict"] == [verdict for _, verdict, _ in expected])
    cells = (
        name,
        precision,
        f"{off.max()}, {off.mean():.6f}",
        f"{labels:.2%}",
        f"{verdicts:.2%}",
        f"{said['milliseconds']:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def explain(photographs: list, expected: list, found: np.ndarray) -> None:
    """Print each photograph that is answered otherwise."""
    for (name, _), (label, verdict, pixels), other in zip(
        photographs, expected, found, strict=True
    ):
        if (label, verdict) != (other["label"], other["verdict"]):
            off = int(np.abs(other["pixels"].astype(int) - pixels).max())
            print(
                f"  {name}: label {label}, {VERDICTS[verdict]}; here {other['label']}, "
                f"{VERDICTS[other['verdict']]}; pixels differ by {off}"
            )


if __name__ == "__main__":
    main()
