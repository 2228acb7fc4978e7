"""Turns answers into the body of a reply.

Flow: takes what the network says of a request's images; gives JSON, with binary tensors behind it
where they were asked for.
Source: the Open Inference Protocol v2 and its extension for binary data.
"""

import numpy as np
import orjson

from bloodkeras.answers.answer import Answers
from bloodkeras.contract import FOREIGN_NAME, OUTPUT_NAME
from bloodkeras.named_types import Array, Json

LABEL_NAME, CONFIDENCE_NAME, VERDICT_NAME = "label", "confidence", "verdict"


def outputs_of(labels: tuple[str, ...]) -> list[Json]:
    """Return the outputs of a model as its metadata name them; the labels are a parameter."""
    return [
        {
            "name": OUTPUT_NAME,
            "datatype": "FP32",
            "shape": [-1, len(labels)],
            "parameters": {"labels": list(labels)},
        },
        {"name": LABEL_NAME, "datatype": "BYTES", "shape": [-1]},
        {"name": CONFIDENCE_NAME, "datatype": "FP32", "shape": [-1]},
        {"name": VERDICT_NAME, "datatype": "BYTES", "shape": [-1]},
        {"name": FOREIGN_NAME, "datatype": "FP32", "shape": [-1]},
    ]


def values_of(answers: Answers, labels: list[str]) -> dict[str, Array]:
    """Return the outputs by name: float32 (N,) or (N, K), or text as objects (N,).

    Args:
        answers: Of N images.
        labels: The label of each.
    """
    return {
        OUTPUT_NAME: answers.probs,
        LABEL_NAME: np.array(labels, object),
        CONFIDENCE_NAME: answers.probs.max(1),
        VERDICT_NAME: answers.verdicts.astype(object),
        FOREIGN_NAME: answers.foreign,
    }


def write_reply(
    head: Json, values: dict[str, Array], wanted: dict[str, bool]
) -> tuple[bytes, int | None]:
    """Return the body of a reply, and how many bytes of it are JSON: None where all are.

    Args:
        head: What stands beside the outputs: the model, its version, the request's id.
        values: As `values_of` gives them.
        wanted: As in `tensors.Asked.outputs`.
    """
    outputs, behind = [], []
    for name, value in values.items():
        if name not in wanted:
            continue
        datatype = "BYTES" if value.dtype == object else "FP32"
        output: Json = {"name": name, "datatype": datatype, "shape": value.shape}
        if wanted[name]:
            behind.append(_binary(value))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = value.tolist() if value.dtype == object else value.ravel()
        outputs.append(output)
    text = orjson.dumps(head | {"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([text, *behind]), len(text) if behind else None


def _binary(value: Array) -> bytes:
    """Return a tensor's bytes, little-endian; before each text its length."""
    if value.dtype != object:
        return value.astype("<f4").tobytes()
    words = [word.encode() for word in value]
    return b"".join(len(word).to_bytes(4, "little") + word for word in words)
