"""Kernels are stored in half the bytes; what computes with them is as before, but for rounding."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bloodkeras import contract
from bloodkeras.answers.session import open_session
from bloodkeras.export.calibration import fit_calibration
from bloodkeras.export.half_weights import halve_weights, restore_weights
from bloodkeras.export.publish import convert
from bloodkeras.recipe import override
from bloodkeras.recipes import RECIPES
from bloodkeras.training.models import build_model

ROUNDING = 2**-11  # of eleven bits, relative


@pytest.fixture(scope="module", params=["deeper", "tiny"])
def graph(request, drawn):
    recipe = override(RECIPES[request.param], {"width": "0.5"})
    model = build_model(recipe)
    return convert(model, fit_calibration(model, drawn, recipe))


def arrays(graph):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}


def test_kernels_take_half_the_bytes_and_answers_are_the_same(graph, drawn):
    before = graph.SerializeToString()
    halved = halve_weights(graph)
    assert graph.SerializeToString() == before  # nothing was changed in place
    onnx.checker.check_model(halved, full_check=True)
    kernels = [array for array in arrays(halved).values() if array.dtype == np.float16]
    assert len(kernels) == [node.op_type for node in halved.graph.node].count("Conv")
    saved = len(before) - len(halved.SerializeToString())
    assert saved == pytest.approx(sum(array.nbytes for array in kernels), rel=0.25)
    answers = [
        open_session(each.SerializeToString()).run(None, {"images": drawn.test.images})
        for each in (graph, halved)
    ]
    for one, two in zip(*answers, strict=True):
        assert one == pytest.approx(two, abs=contract.STORED_TOLERANCE, rel=0.01)


def test_they_are_restored_but_for_rounding(graph):
    restored = restore_weights(halve_weights(graph))
    assert [node.SerializeToString() for node in restored.graph.node] == [
        node.SerializeToString() for node in graph.graph.node
    ]
    before, after = arrays(graph), arrays(restored)
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        assert after[name] == pytest.approx(array, rel=ROUNDING, abs=1e-6)
    assert restore_weights(graph) == graph  # where there is nothing to restore
