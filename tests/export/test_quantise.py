"""The int8 file: what it answers, when it is refused, and that any runtime reads it alike."""

import dataclasses
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_export import build_export, write_sums

from bloodkeras import contract
from bloodkeras.answers import classifier as classifier_module
from bloodkeras.answers.classifier import Classifier, advise
from bloodkeras.answers.export_folder import verify_checksums
from bloodkeras.answers.predict import score
from bloodkeras.bloodmnist import CLASS_NAMES
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.export.half_weights import restore_weights
from bloodkeras.export.quantise import CALIBRATIONS, largest_pair, quantise, quantise_with
from bloodkeras.training.run_folder import load_run

EXPORT = "exports/deeper"
CARDS = Path(__file__).parents[2].glob("exports/[a-z]*/card.json")
COMMITTED = sorted(path.parent for path in CARDS)


@pytest.fixture(scope="module")
def graph(study_folder):
    return restore_weights(onnx.load(study_folder / EXPORT / contract.MODEL_FILE))


def attention_graph(stride: int) -> onnx.ModelProto:
    """Return a network with attention, a depthwise convolution and a sum, its start scaled."""
    rng = np.random.default_rng(0)
    weights = {
        "a": (8, 3, 3, 3),
        "down": (4, 8, 1, 1),
        "up": (8, 4, 1, 1),
        "deep": (8, 1, 3, 3),
        "last": (8, 8, 1, 1),
    }
    tensors = [
        numpy_helper.from_array(rng.normal(0, 0.5, shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    constants = {"slope": np.float32(1 / 127.5), "offset": np.float32(-1), "axes": [2, 3]}
    constants |= {f"b_{name}": np.zeros(shape[0], np.float32) for name, shape in weights.items()}
    tensors += [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()]
    margin = [0, 0, 1, 1] if stride == 2 else [1, 1, 1, 1]

    def conv(source, name, **fields):
        kernel = list(weights[name][2:])
        words = [source, name, f"b_{name}"]
        return helper.make_node("Conv", words, [f"{name}_"], name, kernel_shape=kernel, **fields)

    nodes = [
        helper.make_node("Cast", ["images"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "slope"], ["s"], "mul"),
        helper.make_node("Add", ["s", "offset"], ["t"], "add"),
        helper.make_node("Transpose", ["t"], ["x"], "nchw", perm=[0, 3, 1, 2]),
        conv("x", "a", strides=[stride, stride], pads=margin),
        helper.make_node("Relu", ["a_"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "pool"),
        conv("g", "down", strides=[1, 1], pads=[0, 0, 0, 0]),
        helper.make_node("Relu", ["down_"], ["dr"], "relu2"),
        conv("dr", "up", strides=[1, 1], pads=[0, 0, 0, 0]),
        helper.make_node("Sigmoid", ["up_"], ["w"], "sigmoid"),
        helper.make_node("Mul", ["r", "w"], ["m"], "attend"),
        conv("m", "deep", strides=[1, 1], pads=[1, 1, 1, 1], group=8),
        conv("deep_", "last", strides=[1, 1], pads=[0, 0, 0, 0]),
        helper.make_node("Add", ["last_", "r"], ["sum"], "sum"),
        helper.make_node("GlobalAveragePool", ["sum"], ["p"], "pool2"),
        helper.make_node("Squeeze", ["p", "axes"], ["logits"], "squeeze"),
        helper.make_node("Softmax", ["logits"], ["probs"], "softmax", axis=-1),
    ]
    network = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28, 3])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", 8])],
        tensors,
    )
    return helper.make_model(network, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def probs_of(graph, images) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return session.run(["probs"], {"images": images})[0]


@pytest.mark.parametrize("stride", [1, 2])
def test_attention_and_depthwise_survive(stride, drawn):
    fp32 = attention_graph(stride)
    int8 = quantise_with("widest", fp32, drawn.train.images)
    difference = np.abs(probs_of(fp32, drawn.test.images) - probs_of(int8, drawn.test.images))
    assert difference.max() < 0.05
    stored = {tensor.name: tensor.data_type for tensor in int8.graph.initializer}
    assert stored["deep_quantized"] == TensorProto.INT8
    assert stored["down"] == TensorProto.FLOAT  # one number a channel: fp32


def int8_tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return the weights in int8, as int64 of at least two axes, by name."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {k: v for k, v in found.items() if v.data_type == TensorProto.INT8 and len(v.dims) > 1}
    return {name: numpy_helper.to_array(tensor).astype(np.int64) for name, tensor in found.items()}


def sums_in_pairs(weights: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return each filter's sum as a processor without VNNI computes it: pairs in 16 bits.

    Args:
        weights: int64 (C, K), in the order in which a kernel takes them.
        pixels: int64 (C, K), 0..255.
    """
    products = weights * pixels
    products = np.pad(products, ((0, 0), (0, products.shape[1] % 2)))
    pairs = products.reshape(len(products), -1, 2).sum(2)
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(1)


def overflows(model: onnx.ModelProto) -> bool:
    """Return whether the worst pixels give another sum in pairs, in any of three orders."""
    rng = np.random.default_rng(0)
    for weights in int8_tensors(model).values():
        by_channel = weights.reshape(len(weights), -1)
        by_place = np.moveaxis(weights, 1, -1).reshape(len(weights), -1)
        for ordered in (by_channel, by_place, rng.permuted(by_channel, axis=1)):
            for pixels in (255 * (ordered > 0), 255 * (ordered < 0)):
                if not np.array_equal(sums_in_pairs(ordered, pixels), (ordered * pixels).sum(1)):
                    return True
    return False


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose largest weights of each tensor are eight-bit ones."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) > 1:
            doubled = np.clip(2 * numpy_helper.to_array(tensor).astype(int), -127, 127)
            tensor.CopyFrom(numpy_helper.from_array(doubled.astype(np.int8), tensor.name))
    return wide


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_no_committed_int8_file_can_overflow_on_any_processor(folder):
    model = onnx.load(folder / contract.INT8_FILE)
    facts = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))["int8"]
    assert len(int8_tensors(model)) >= 3
    assert largest_pair(model) == facts["largest_pair"] <= contract.PAIR_LIMIT
    assert not overflows(model)
    scores = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))["metrics"]
    for split in ("val", "test"):
        fp32, int8 = (m[split]["headline"]["accuracy"]["value"] for m in (scores, facts["metrics"]))
        assert int8 > fp32 - 0.003


def test_a_doctored_file_of_eight_bits_is_caught():
    model = widened(onnx.load(COMMITTED[0] / contract.INT8_FILE))
    assert overflows(model)
    assert largest_pair(model) > contract.PAIR_LIMIT


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([[64, 64, -64, -64]], 32640),
        ([[65, 64, 0, 0]], 32895),
        ([[65], [64]], 32895),  # of two filters: a bound need not know which is which
        ([[127, -127, 0, 0]], 32385),  # of one sign only do they add up
        ([[-128, 0, 3, -1]], 32895),
        ([[0, 0]], 0),
    ],
)
def test_the_largest_pair_is_the_two_largest_weights_of_one_sign(weights, expected):
    tensor = numpy_helper.from_array(np.array(weights, np.int8), "w")
    scale = numpy_helper.from_array(np.array([127, 127], np.int8), "zero_points")  # no weights
    graph = helper.make_graph([], "pairs", [], [], [tensor, scale])
    assert largest_pair(helper.make_model(graph)) == expected


@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
def test_quantise_never_yields_weights_that_overflow(spread, drawn):
    """Whatever the weights: here both largest ones of a filter are equal, the worst that can be."""
    fp32 = attention_graph(1)
    for tensor in fp32.graph.initializer:
        if len(tensor.dims) == 4:
            extreme = np.full(tensor.dims, spread, np.float32)
            extreme[::2] *= -1
            tensor.CopyFrom(numpy_helper.from_array(extreme, tensor.name))
    for name in CALIBRATIONS:
        int8 = quantise_with(name, fp32, drawn.train.images)
        assert int8_tensors(int8)
        assert largest_pair(int8) <= contract.PAIR_LIMIT
        assert not overflows(int8)


def test_what_could_overflow_is_not_published(graph, drawn, monkeypatch):
    """The gate looks at the weights, so it holds on a processor that would notice nothing."""
    from bloodkeras.export import quantise as module

    honest = module.quantise_with
    monkeypatch.setattr(module, "quantise_with", lambda *words: widened(honest(*words)))
    found = quantise(graph, drawn, max_fall=1.0)
    assert found.graph is None
    assert found.largest_pair > contract.PAIR_LIMIT
    assert "16 bits, which hold 32,767" in found.reason


def without_proof(source: Path, folder: Path) -> Path:
    """Copy an export as earlier versions wrote it: eight-bit weights, no word on pairs."""
    shutil.copytree(source, folder)
    onnx.save(widened(onnx.load(source / contract.INT8_FILE)), folder / contract.INT8_FILE)
    card = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))
    del card["int8"]["largest_pair"]
    (folder / contract.CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    write_sums(folder, (contract.MODEL_FILE, contract.INT8_FILE, contract.CARD_FILE))
    return folder


def test_an_earlier_int8_file_is_run_exactly_and_said_to_be(tmp_path, monkeypatch, capsys):
    opened = []
    honest = classifier_module.open_session
    monkeypatch.setattr(
        classifier_module,
        "open_session",
        lambda *words: opened.append(words[-1]) or honest(*words),
    )
    folder = without_proof(COMMITTED[0], tmp_path / "earlier")
    assert Classifier.load(folder, precision="int8").labels == CLASS_NAMES
    assert Classifier.load(folder).labels == CLASS_NAMES
    assert Classifier.load(COMMITTED[0], precision="int8").labels == CLASS_NAMES
    assert opened == [True, False, False]
    advise(folder, "int8")
    assert "export it again" in capsys.readouterr().err
    advise(folder, "float32")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_int8_says_where_it_is_no_quicker(folder, capsys):
    advise(folder, "int8")
    said = capsys.readouterr().err
    assert ("no quicker than float32" in said) == (folder.name == "tiny")
    assert said.count("\n") == bool(said)


def test_predict_says_so_too_and_a_card_without_numbers_says_nothing(tmp_path, capsys):
    tiny = next(folder for folder in COMMITTED if folder.name == "tiny")
    np.save(tmp_path / "cells.npy", np.zeros((2, 28, 28, 3), np.uint8))
    score([str(tmp_path / "cells.npy")], str(tiny), precision="int8")
    assert capsys.readouterr().err.count("no quicker than float32") == 1
    bare = build_export(tmp_path / "bare")
    advise(bare, "float32")
    assert not capsys.readouterr().err


def test_an_export_gets_its_int8_file_anew_without_its_run(
    study_folder, drawn, tmp_path, monkeypatch
):
    from bloodkeras.export import publish as export

    # One of 120 images is 0.8 points.
    monkeypatch.setattr(export, "quantise", partial(export.quantise, max_fall=0.1))
    folder = without_proof(study_folder / EXPORT, tmp_path / "deeper")
    before = (folder / contract.MODEL_FILE).read_bytes()
    kept = json.loads((study_folder / EXPORT / contract.CARD_FILE).read_text(encoding="utf-8"))
    renamed = dataclasses.replace(drawn, source="renamed.npz")
    assert export.requantise(folder, renamed)["largest_pair"] <= contract.PAIR_LIMIT
    assert (folder / contract.MODEL_FILE).read_bytes() == before
    verify_checksums(folder, contract.INT8_FILE)
    assert sorted(path.name for path in folder.iterdir()) == sorted(contract.EXPORT_FILES)
    card = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))
    assert card.pop("int8").keys() == kept.pop("int8").keys()
    assert card == kept
    assert [path.name for path in tmp_path.iterdir()] == ["deeper"]


def test_an_export_of_other_data_or_with_other_files_is_left_alone(study_folder, drawn, tmp_path):
    """Else half of the card's numbers would be of these data and half of those."""
    from bloodkeras.export.publish import requantise

    folder = tmp_path / "deeper"
    shutil.copytree(study_folder / EXPORT, folder)
    (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BloodkerasError, match=r"thesis\.txt"):
        requantise(folder, drawn)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = dataclasses.replace(drawn, sha256="0" * 64)
    with pytest.raises(BloodkerasError, match="judged on other data"):
        requantise(folder, other)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_export_has_both_files_and_says_what_they_score(study_folder, drawn):
    folder = study_folder / EXPORT
    verify_checksums(folder, contract.INT8_FILE)
    card = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))["int8"]
    assert card["published"]
    assert card["bytes"]["int8"] == (folder / contract.INT8_FILE).stat().st_size
    assert card["bytes"]["int8"] < 0.75 * card["bytes"]["float32"]
    int8 = Classifier.load(folder, precision="int8")
    right = (int8.predict_proba(drawn.test.images).argmax(1) == drawn.test.labels).mean()
    assert card["metrics"]["test"]["headline"]["accuracy"]["value"] == pytest.approx(right)
    assert f"{right:.4f}" in (folder / contract.MODEL_CARD_FILE).read_text(encoding="utf-8")


def test_both_files_have_the_same_interface_and_close_verdicts(study_folder, drawn):
    folder = study_folder / EXPORT
    both = [Classifier.load(folder, precision=name) for name in contract.PRECISIONS]
    sessions = [classifier._session for classifier in both]
    for nodes in ("get_inputs", "get_outputs"):
        first, second = ([(n.name, n.type, n.shape) for n in getattr(s, nodes)()] for s in sessions)
        assert first == second
    first, second = (s.get_modelmeta().custom_metadata_map for s in sessions)
    assert first.keys() == second.keys()
    assert first["bloodkeras.thresholds"] == second["bloodkeras.thresholds"]
    answers = [classifier.answer(drawn.val.images) for classifier in both]
    assert np.abs(answers[0].probs - answers[1].probs).mean() < 0.02
    assert (answers[0].verdicts == answers[1].verdicts).mean() > 0.8


def test_a_file_that_loses_too_much_is_refused_with_the_reason(graph, drawn):
    found = quantise(graph, drawn, max_fall=-2.0)  # nothing can gain two hundred points
    assert found.graph is None
    assert "-200.00 are allowed" in found.reason


def test_an_export_without_int8_says_why(study_folder, drawn, tmp_path, monkeypatch):
    from bloodkeras.export import publish as export

    honest = export.quantise
    refusing = dataclasses.replace(
        honest(onnx.load(study_folder / "exports/simple/model.onnx"), drawn),
        graph=None,
        reason="it lost 3 points",
    )
    monkeypatch.setattr(export, "quantise", lambda *_: refusing)
    run = load_run(study_folder / "runs/simple-seed42")
    shutil.copytree(study_folder / "exports/simple", tmp_path / "simple")  # has an int8 file
    folder = export.export_run(run, drawn, tmp_path / "simple")
    assert not (folder / contract.INT8_FILE).exists()
    assert "it lost 3 points" in (folder / contract.MODEL_CARD_FILE).read_text(encoding="utf-8")
    assert Classifier.load(folder).predict_proba(drawn.test.images[:2]).shape == (2, 8)
    with pytest.raises(BloodkerasError, match=r"no model\.int8\.onnx"):
        Classifier.load(folder, precision="int8")


def test_an_unknown_precision_is_wrong_usage(study_folder):
    with pytest.raises(UsageError, match="float32 or int8"):
        Classifier.load(study_folder / EXPORT, precision="int4")


def test_a_changed_int8_file_is_refused(study_folder, tmp_path):
    folder = tmp_path / "deeper"
    shutil.copytree(study_folder / EXPORT, folder)
    content = bytearray((folder / contract.INT8_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / contract.INT8_FILE).write_bytes(content)
    with pytest.raises(BloodkerasError, match="not the file that was exported"):
        Classifier.load(folder, precision="int8")


def test_no_needless_nodes(graph):
    """One Transpose, no batch normalisation: 22 nodes are the network.

    The others are the colours, which reshape twice, distances of the score for foreign images, and
    two that let it take a batch of no images.
    """
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("Transpose") == 1
    assert kinds.count("Reshape") == 2
    assert not {"BatchNormalization", "Identity", "Dropout"} & set(kinds)
    assert len(kinds) <= 57


def test_idle_reshapes_are_dropped():
    from bloodkeras.export.publish import drop_idle_reshapes

    model = attention_graph(1)
    idle = helper.make_node("Reshape", ["g", "same"], ["g2"], "idle")
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 8, 1, 1]), "same"))
    nodes = list(model.graph.node)
    place = [node.name for node in nodes].index("down")
    nodes[place].input[0] = "g2"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], idle, *nodes[place:]])
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), np.uint8)
    before = probs_of(model, images)
    drop_idle_reshapes(model)
    assert "Reshape" not in [node.op_type for node in model.graph.node]
    np.testing.assert_allclose(probs_of(model, images), before, rtol=1e-5)


BARE = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in {"numpy", "onnxruntime", *sys.stdlib_module_names} and "." not in name:
            raise ModuleNotFoundError(f"{name} is walled off")
sys.meta_path.insert(0, Wall())
import numpy, onnxruntime
try:
    import bloodkeras
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the wall does not hold")
session = onnxruntime.InferenceSession(sys.argv[1])
(probs,) = session.run(["probs"], {"images": numpy.load(sys.argv[2])})
numpy.save(sys.argv[3], probs)
"""


@pytest.mark.parametrize("precision", contract.PRECISIONS)
def test_numpy_and_onnxruntime_alone_give_the_same_answers(
    study_folder, drawn, tmp_path, precision
):
    images = drawn.test.images
    np.save(tmp_path / "images.npy", images)
    file = study_folder / EXPORT / contract.PRECISIONS[precision]
    words = [file, tmp_path / "images.npy", tmp_path / "probs.npy"]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *map(str, words)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    expected = Classifier.load(study_folder / EXPORT, precision=precision).predict_proba(images)
    assert np.abs(np.load(tmp_path / "probs.npy") - expected).max() < 1e-4


def test_openvino_gives_the_same_answers(study_folder, drawn):
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install openvino")
    from bloodkeras.benchmark.engines import ENGINES, Source
    from bloodkeras.benchmark.timing import Setting

    source = Source(str(study_folder / EXPORT), "", "")
    found = ENGINES["OpenVINO fp32"].load(source, Setting(1))(drawn.test.images)
    expected = Classifier.load(study_folder / EXPORT).predict_proba(drawn.test.images)
    assert np.abs(found - expected).max() < 1e-4


def test_the_foreign_score_and_the_dense_layers_stay_in_fp32(study_folder):
    """Back from every output to where the features are pooled, or the image is, nothing is int8."""
    graph = onnx.load(study_folder / EXPORT / contract.INT8_FILE).graph
    producers = {name: node for node in graph.node for name in node.output}
    names = [output.name for output in graph.output]
    seen = set()
    while names:
        node = producers.get(names.pop())
        if node is None or node.name in seen or node.op_type == "GlobalAveragePool":
            continue
        seen.add(node.name)
        assert node.op_type not in ("QuantizeLinear", "DequantizeLinear"), node.name
        names += node.input
    assert {"Softmax", "Sqrt"} <= {
        producers[n].op_type for n in producers if producers[n].name in seen
    }
