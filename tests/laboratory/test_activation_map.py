"""Maps: their places add up to what the features say, whatever layers come after the pooling."""

from pathlib import Path

import numpy as np
import pytest
from tiny_export import build_export

from bloodkeras.answers.classifier import Classifier
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.laboratory.activation_map import ActivationMap

EXPORTS = Path(__file__).parents[2] / "exports"
SIDES = {
    "simple": 7,
    "deeper": 3,
    "tiny": 7,
    "residual": 7,
    "residual-64": 8,
    "robust-64": 8,
}


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    return draw_arrays({"train": 8, "val": 8, "test": 12})["test_images"]


@pytest.mark.parametrize("name", SIDES)
def test_a_map_has_a_place_for_each_of_the_last_convolution(name, cells):
    if name.endswith("-64"):
        cells = cells.repeat(3, axis=1).repeat(3, axis=2)[:, 10:74, 10:74]
    maps = ActivationMap(EXPORTS / name).maps(cells)
    assert maps.shape == (12, 8, SIDES[name], SIDES[name])
    assert np.isfinite(maps).all()
    assert maps.std((2, 3)).max() > 0.01


@pytest.mark.parametrize("name", ["tiny", "residual"])
def test_its_mean_is_the_logit_but_for_a_constant(name, cells):
    """Behind one dense layer: what is left is its bias, the same for every image."""
    logits = ActivationMap(EXPORTS / name).maps(cells).mean((2, 3))
    temperature = Classifier.load(EXPORTS / name).card["calibration"]["temperature"]
    probs = Classifier.load(EXPORTS / name).predict_proba(cells).astype(np.float64)
    rest = temperature * np.log(probs) - logits
    rest -= rest.mean(1, keepdims=True)  # a softmax forgets what all classes have in common
    assert rest == pytest.approx(np.broadcast_to(rest.mean(0), rest.shape), abs=2e-3)


@pytest.mark.parametrize("name", ["simple", "deeper"])
def test_behind_several_layers_it_is_the_gradient(name, cells):
    """Computed by hand, layer by layer, from the numbers in the file."""
    import onnx
    from onnx.numpy_helper import to_array

    model = onnx.load(EXPORTS / name / "model.onnx")
    constants = {tensor.name: to_array(tensor) for tensor in model.graph.initializer}
    dense = [node for node in model.graph.node if node.op_type == "Gemm"]
    (pooling,) = [node for node in model.graph.node if node.op_type == "GlobalAveragePool"]
    features = intermediate(model, pooling.input[0], cells)  # (N, F, H, W)
    pooled, masks, weights = features.mean((2, 3)), [], []
    for node in dense:
        turned = any(field.name == "transB" and field.i for field in node.attribute)
        kernel = constants[node.input[1]].T if turned else constants[node.input[1]]
        pooled = pooled @ kernel + constants[node.input[2]]
        weights.append(kernel)
        if node is not dense[-1]:
            masks.append(pooled > 0)
            pooled = np.maximum(pooled, 0)
    says = np.broadcast_to(weights[-1].T, (len(cells), *weights[-1].T.shape))
    for kernel, mask in zip(weights[-2::-1], masks[::-1], strict=True):
        says = (says * mask[:, None]) @ kernel.T
    expected = np.einsum("nkf,nfhw->nkhw", says, features)
    assert ActivationMap(EXPORTS / name).maps(cells) == pytest.approx(expected, abs=1e-3)


def intermediate(model, name: str, images: np.ndarray) -> np.ndarray:
    """Return a tensor from the middle of a graph."""
    import onnx
    import onnxruntime

    model.graph.output.append(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    model.graph.output.pop()
    return session.run([name], {"images": images})[0]


def test_another_graph_is_refused(tmp_path):
    with pytest.raises(BloodkerasError, match="pooling"):
        ActivationMap(build_export(tmp_path / "tiny"))
