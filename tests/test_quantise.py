"""The int8 file: what it answers, when it is refused, and that any runtime reads it alike."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bloodkeras import contract
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.int8_start import block_kernel
from bloodkeras.quantise import quantise, quantise_with
from bloodkeras.runtime.classifier import Classifier, verify_checksums
from bloodkeras.train import load_run

EXPORT = "exports/deeper"


@pytest.fixture(scope="module")
def graph(study_folder):
    return onnx.load(study_folder / EXPORT / contract.MODEL_FILE)


def attention_graph(stride: int) -> onnx.ModelProto:
    """Return a network with attention, a depthwise convolution and a sum, its start scaled."""
    rng = np.random.default_rng(0)
    weights = {
        "a": (8, 3, 3, 3), "down": (4, 8, 1, 1), "up": (8, 4, 1, 1), "deep": (8, 1, 3, 3),
        "last": (8, 8, 1, 1),
    }  # fmt: skip
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
        nodes, "attention",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28, 3])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", 8])], tensors,
    )  # fmt: skip
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
    kinds = [node.op_type for node in int8.graph.node]
    assert "Cast" not in kinds  # pixels enter as they are
    assert kinds.count("Reshape") == 2  # in blocks of four columns
    stored = {tensor.name: tensor.data_type for tensor in int8.graph.initializer}
    assert stored["deep_quantized"] == TensorProto.INT8
    assert stored["down"] == TensorProto.FLOAT  # one number a channel: fp32


@pytest.mark.parametrize(("stride", "left"), [(1, 1), (2, 0), (4, 0)])
def test_the_block_kernel_computes_the_same_sums(stride, left):
    rng = np.random.default_rng(stride)
    weights = rng.integers(-9, 9, (5, 3, 3, 3))
    image = rng.integers(-9, 9, (28, 28, 3))
    padded = np.pad(image, ((0, 0), (4, 4), (0, 0)))
    wide = block_kernel(weights, stride, left)
    row = 7
    for column in range(0, 28, stride):
        begin = 4 + column - left
        patch = padded[row : row + 3, begin : begin + 3]  # (H, W, 3)
        expected = np.einsum("ochw,hwc->o", weights, patch)
        block = column // 4  # of the output; reads the blocks before, at and after it
        blocks = padded[row : row + 3, 4 * block : 4 * block + 12].reshape(3, 3, 12)
        sums = np.einsum("ochw,hwc->o", wide, blocks).reshape(-1, 5)
        assert np.array_equal(sums[column % 4 // stride], expected)


def test_an_export_has_both_files_and_says_what_they_score(study_folder, drawn):
    folder = study_folder / EXPORT
    verify_checksums(folder, contract.INT8_FILE)
    card = json.loads((folder / contract.CARD_FILE).read_text(encoding="utf-8"))["int8"]
    assert card["published"]
    assert card["bytes"]["int8"] == (folder / contract.INT8_FILE).stat().st_size
    assert card["bytes"]["int8"] < 0.5 * card["bytes"]["float32"]
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
    from bloodkeras import export

    honest = export.quantise
    refusing = dataclasses.replace(
        honest(onnx.load(study_folder / "exports/simple/model.onnx"), drawn),
        graph=None, reason="it lost 3 points",
    )  # fmt: skip
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

    The others are the colours, which reshape twice, and distances of the score for foreign images.
    """
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("Transpose") == 1
    assert kinds.count("Reshape") == 2
    assert not {"BatchNormalization", "Identity", "Dropout"} & set(kinds)
    assert len(kinds) <= 55


def test_idle_reshapes_are_dropped():
    from bloodkeras.export import drop_idle_reshapes

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
    from bloodkeras.contenders import CONTENDERS, Source
    from bloodkeras.runtime.benchmark import Setting

    source = Source(str(study_folder / EXPORT), "", "")
    found = CONTENDERS["OpenVINO fp32"].load(source, Setting(1))(drawn.test.images)
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
