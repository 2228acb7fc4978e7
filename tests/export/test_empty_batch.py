"""A batch of no images: the bare ONNX files answer it, in older versions of onnxruntime too.

requirements.txt has a newer one, which answers N = 0 anyway, so what 1.17 stumbles over is looked
for in the graphs. To ask it itself: pip install 'onnxruntime==1.17.*' 'numpy<2' elsewhere, then
python -c "import numpy, onnxruntime as o; s = o.InferenceSession('exports/tiny/model.onnx');
print(s.run(None, {'images': numpy.zeros((0, 28, 28, 3), 'uint8')}))"
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from bloodkeras.bloodmnist import bloodmnist
from bloodkeras.export.empty_batch import allow_empty_batch
from bloodkeras.images.synthetic import draw_arrays

EXPORTS = Path(__file__).parents[2] / "exports"
FILES = sorted(EXPORTS.glob("*/model*.onnx"))


def what_1_17_stumbles_over(model: onnx.ModelProto) -> list[str]:
    """Return the nodes that fail there with N = 0."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[0] in constants:
            found.append(node.name)
        if node.op_type.startswith("Reduce"):
            axes = [axis for a in node.attribute if a.name == "axes" for axis in a.ints]
            if len(node.input) > 1:
                axes += numpy_helper.to_array(constants[node.input[1]]).tolist()
            found += [node.name] * any(axis < 0 for axis in axes)
    return found


def answers(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"images": images})


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_mended_graph_answers_the_same_and_nothing_too(file):
    model = onnx.load(file)
    side = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    images = draw_arrays({"train": 8, "val": 8, "test": 20}, dataset=bloodmnist(side))[
        "test_images"
    ]
    before = answers(model, images)
    allow_empty_batch(model)
    assert what_1_17_stumbles_over(model) == []
    for found, expected in zip(answers(model, images), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [found.shape for found in answers(model, images[:0])] == [(0, 8), (0,)]
    mended = model.SerializeToString()
    allow_empty_batch(model)
    assert model.SerializeToString() == mended


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_committed_files_are_mended(file):
    assert what_1_17_stumbles_over(onnx.load(file)) == []
