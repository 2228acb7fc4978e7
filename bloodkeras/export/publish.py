"""Turns a run into an ONNX file that is published only if it agrees with Keras.

Flow: takes a `Run` and `Splits`; gives <exports>/<model>/: model.onnx, model.int8.onnx,
photograph.onnx, card.json, MODEL_CARD.md, MODEL_CARD.html and SHA256SUMS, or nothing at all. Or
takes an export, without its run, and makes its int8 file again.
Sources: tf2onnx from a tf.function; `tf2onnx.convert.from_keras` breaks on Keras 3
    (tensorflow-onnx#2319, #2329) and `Model.export(format="onnx")` fixes the tensor names.
"""

import json
import shutil
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime

from bloodkeras import contract
from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.export_folder import new_export, write_checksums
from bloodkeras.data.splits import Splits
from bloodkeras.errors import BloodkerasError
from bloodkeras.evaluation.corruptions import judge_shifts
from bloodkeras.export.add_photograph import write_photograph
from bloodkeras.export.calibration import Calibration, fit_calibration
from bloodkeras.export.card import build_card, describe_int8, judge, render_card, render_page
from bloodkeras.export.empty_batch import allow_empty_batch
from bloodkeras.export.half_weights import halve_weights
from bloodkeras.export.ood_score import SCORES, named, with_features
from bloodkeras.export.quantise import Quantised, quantise
from bloodkeras.named_types import Json, Pixels, Probs, Tensor
from bloodkeras.progress import Stages, told
from bloodkeras.training.models import PREDICT_BATCH, predict_proba
from bloodkeras.training.run_folder import Run
from bloodkeras.whole_file import write_json, write_text

# How long each takes in proportion to the others, `residual` on two cores: nearly all of it is the
# card's simulated shifts.
STAGES = {
    "calibrating its confidence and its doubt": 25.0,
    "converting it to ONNX": 1.0,
    "comparing every validation image with Keras": 7.0,
    "measuring it for its card": 220.0,
    "making and judging the int8 file": 12.0,
}


def export_run(run: Run, splits: Splits, folder: Path) -> Path:
    """Export a run's best model, replacing an earlier export only when all checks have passed.

    An int8 file goes with it where that loses little; where not, the card says why.

    Args:
        splits: The data; val decides, test is only reported.
        folder: Where to publish, such as runs/exports/deeper.

    Raises:
        BloodkerasError: The run is for other images than these, the ONNX file disagrees with Keras,
            the folder cannot be written, or a model trained on drawn cells would replace one
            trained on photographs.
    """
    folder = Path(folder)
    run.dataset.check_fits(splits.dataset, str(run.folder))
    _refuse_synthetic_over_real(run, folder)
    stages = Stages(f"export of {run.recipe.model_name}", STAGES, _guessed_seconds(run, splits))
    with new_export(folder) as staging:
        stages.begin("calibrating its confidence and its doubt")
        calibration = fit_calibration(run.model, splits, run.recipe)
        stages.begin("converting it to ONNX")
        graph = convert(run.model, calibration)
        card = build_card(run, splits, calibration)
        _save(graph, card, staging / contract.MODEL_FILE)
        _write_card(card, staging)
        stages.begin("comparing every validation image with Keras")
        expected = predict_proba(run.model, splits.val.images, calibration.temperature)
        check_parity(expected, Classifier.load(staging), splits.val.images)
        stored = halve_weights(graph)
        _save(stored, card, staging / contract.MODEL_FILE)
        _write_card(card, staging)
        classifier = Classifier.load(staging)
        card["largest_difference_to_keras"] = check_parity(
            expected, classifier, splits.val.images, contract.STORED_TOLERANCE
        )
        stages.begin("measuring it for its card")
        card["metrics"] = judge(classifier, splits, card["model"])
        card["shifts"] = judge_shifts(classifier.answer, splits.test)
        _save(stored, card, staging / contract.MODEL_FILE)
        stages.begin("making and judging the int8 file")
        _add_int8(quantise(graph, splits), card, splits, staging)
    return folder


def requantise(folder: Path, splits: Splits) -> Json:
    """Make the int8 file of an export again, of its own fp32 file, which stays as it is.

    Args:
        folder: An export, such as exports/deeper; its run is not needed.
        splits: The data that the export was judged on; calibrates on train, chooses on val.

    Returns:
        What the card now says of the int8 file.

    Raises:
        BloodkerasError: The folder is not a complete export, cannot be written, or its card was
            written for other data: half of its numbers would then be of these.
    """
    folder = Path(folder)
    card = Classifier.load(folder).card
    if "calibrated_on" in card:
        raise BloodkerasError(
            f"{folder} was calibrated on a laboratory's own cells: make the int8 file again of the "
            "export that it was made of, and calibrate that"
        )
    judged_on = card.get("evaluated_on", {}).get("sha256", "nobody knows what")
    if judged_on != splits.sha256:  # whatever the file is called now
        raise BloodkerasError(
            f"{folder} was judged on other data, of SHA-256 {judged_on[:12]}, and these have "
            f"{splits.sha256[:12]}: name its file with --data"
        )
    with new_export(folder) as staging:
        shutil.copyfile(folder / contract.MODEL_FILE, staging / contract.MODEL_FILE)
        quantised = quantise(onnx.load(staging / contract.MODEL_FILE), splits)
        _add_int8(quantised, card, splits, staging)
    found: Json = card["int8"]
    return found


def _add_int8(quantised: Quantised, card: Json, splits: Splits, staging: Path) -> None:
    """Write beside the fp32 file the two made of it, what the card says of them, and the rest."""
    card["int8"] = facts = describe_int8(quantised)
    path = staging / contract.INT8_FILE
    if quantised.graph is not None:
        _save(quantised.graph, card | {"metrics": {}}, path)
        _write_card(card, staging)
        facts["metrics"] = judge(Classifier.load(staging, precision="int8"), splits, "int8")
        _save(quantised.graph, card | {"metrics": facts["metrics"]}, path)
        facts["bytes"] = {
            name: (staging / file).stat().st_size for name, file in contract.PRECISIONS.items()
        }
    write_photograph(staging, card)
    _write_card(card, staging)
    page = render_page(card, splits, Classifier.load(staging))
    (staging / contract.MODEL_CARD_FILE).write_text(render_card(card), encoding="utf-8")
    write_text(staging / contract.MODEL_CARD_PAGE, page)
    write_checksums(staging)
    for precision, file in contract.PRECISIONS.items():  # what nobody can open is not published
        if (staging / file).exists():
            Classifier.load(staging, precision=precision)


def _guessed_seconds(run: Run, splits: Splits) -> float:
    """Guess how long an export takes: 46 passes over test (shifts), and two over train."""
    batch = splits.train.images[:PREDICT_BATCH]
    predict_proba(run.model, batch)  # in which TensorFlow readies its kernels
    started = time.monotonic()
    predict_proba(run.model, batch)
    each = (time.monotonic() - started) / len(batch)
    return each * (46 * len(splits.test) + 2 * len(splits.train))


def convert(model: keras.Model, calibration: Calibration) -> onnx.ModelProto:
    """Convert a Keras model to ONNX: uint8 pixels in, probabilities out, batch axis free.

    Temperature, softmax and the score for foreign images are part of the graph.
    """
    import tensorflow as tf
    import tf2onnx

    network, score = with_features(model), SCORES[calibration.score]
    pixels = tf.TensorSpec(model.input_shape, tf.uint8, name=contract.INPUT_NAME)

    @tf.function(input_signature=[pixels])
    def classify(images: Tensor) -> dict[str, Tensor]:
        features, logits = named(network(tf.cast(images, tf.float32), training=False))
        return {
            contract.OUTPUT_NAME: tf.nn.softmax(logits / calibration.temperature),
            contract.FOREIGN_NAME: score(features, logits, calibration.statistics),
        }

    graph, _ = tf2onnx.convert.from_function(
        classify, input_signature=[pixels], opset=contract.ONNX_OPSET
    )
    outputs = sorted(graph.graph.output, key=lambda value: value.name != contract.OUTPUT_NAME)
    del graph.graph.output[:]
    graph.graph.output.extend(outputs)  # the probabilities first, for callers that name no output
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = contract.BATCH_AXIS
    return fold(graph)


def fold(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Fold batch normalisation into the convolutions, for every runtime that will load the file.

    onnxruntime's basic optimisations do it with standard operators only, so the result is plain
    ONNX; the domains it declares beside that are unused and dropped.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder, contract.MODEL_FILE))
        onnxruntime.InferenceSession(graph.SerializeToString(), options)
        folded = onnx.load(options.optimized_model_filepath)
    standard = [domain for domain in folded.opset_import if domain.domain == ""]
    del folded.opset_import[:]
    folded.opset_import.extend(standard)
    drop_idle_reshapes(folded)
    allow_empty_batch(folded)
    return folded


def drop_idle_reshapes(graph: onnx.ModelProto) -> None:
    """Take out the Reshape nodes that change nothing, which tf2onnx leaves around 1x1 maps."""
    shapes = {}
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    for value in (*inferred.input, *inferred.value_info):
        sizes = [size.dim_value for size in value.type.tensor_type.shape.dim]
        shapes[value.name] = sizes[1:]  # but for the free batch axis, which is 0 here
    for node in list(graph.graph.node):
        sizes = shapes.get(node.output[0], [])
        if node.op_type == "Reshape" and sizes and all(sizes) and sizes == shapes[node.input[0]]:
            graph.graph.node.remove(node)
            for reader in graph.graph.node:
                renamed = [node.input[0] if x == node.output[0] else x for x in reader.input]
                reader.input[:] = renamed


def check_parity(
    expected: Probs,
    classifier: Classifier,
    images: Pixels,
    tolerance: float = contract.PARITY_TOLERANCE,
) -> float:
    """Compare ONNX, through the class that users call, with Keras at several batch sizes.

    Args:
        expected: What Keras says of the images, (N, K).
        classifier: The export.
        images: uint8 (N, S, S, 3).
        tolerance: The largest difference of a probability that is allowed.

    Returns:
        The largest that there is.

    Raises:
        BloodkerasError: It is larger than allowed.
    """
    largest = 0.0
    for size in contract.PARITY_BATCH_SIZES:
        found = np.concatenate(told(classifier.predict_proba, images, size))
        difference = float(np.abs(found - expected).max())
        if not difference <= tolerance:  # NaN is not
            flips = int((found.argmax(1) != expected.argmax(1)).sum())
            raise BloodkerasError(
                f"the ONNX file disagrees with Keras at batch size {size}: {flips} other labels, "
                f"largest difference {difference:.1e} (allowed {tolerance:.0e}); nothing was "
                "published"
            )
        largest = max(largest, difference)
    return largest


def _write_card(card: Json, folder: Path) -> None:
    """Write card.json and the checksums, with which an export can be loaded."""
    write_json(folder / contract.CARD_FILE, card)
    write_checksums(folder)


def _save(graph: onnx.ModelProto, card: Json, path: Path) -> None:
    """Write an ONNX file; the card's facts travel in its metadata too."""
    del graph.metadata_props[:]
    for key in (key for key in METADATA_FIELDS if key in card):  # earlier versions' say less
        text = card[key] if isinstance(card[key], str) else json.dumps(card[key])
        graph.metadata_props.add(key=contract.METADATA_PREFIX + key, value=text)
    onnx.save(graph, path)


METADATA_FIELDS = (
    "model",
    "labels",
    "dataset",
    "preprocessing",
    "thresholds",
    "calibration",
    "versions",
    "metrics",
    "training_data",
)


def _refuse_synthetic_over_real(run: Run, folder: Path) -> None:
    try:
        card = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if run.data["synthetic"] and not card["training_data"]["synthetic"]:
        raise BloodkerasError(
            f"{folder} holds a model trained on photographs, and this run was trained on drawn "
            "cells: name another folder with --exports"
        )
