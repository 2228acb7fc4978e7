"""Turns the body of a request into images, and says what is wrong with one that holds none.

Flow: takes bytes, in JSON or with binary tensors behind JSON; gives kserve's `InferRequest`.
Source: the Open Inference Protocol v2 and its extension for binary data. kserve's own reading is
    not used: it makes a Python list of every pixel, which takes as long as the network, and
    answers what is malformed with a server error.
"""

from typing import Any

import numpy as np
import orjson
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput
from pydantic import BaseModel, StrictInt, StrictStr, ValidationError

from bloodkeras.contract import FOREIGN_NAME, IMAGE_SHAPE, INPUT_NAME, OUTPUT_NAME

LABEL_NAME, CONFIDENCE_NAME, VERDICT_NAME = "label", "confidence", "verdict"
INPUTS = [{"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, *IMAGE_SHAPE]}]
WANTED = f"expected {INPUT_NAME}, UINT8 [N, {', '.join(map(str, IMAGE_SHAPE))}], RGB pixels 0..255"


class Tensor(BaseModel):
    """One input, as JSON says it."""

    name: StrictStr
    shape: list[StrictInt]
    datatype: StrictStr
    parameters: dict[str, Any] | None = None
    data: Any = None


class WantedOutput(BaseModel):
    """One output that is asked for."""

    name: StrictStr
    parameters: dict[str, Any] | None = None


class Body(BaseModel):
    """A request's JSON."""

    id: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    inputs: list[Tensor]
    outputs: list[WantedOutput] | None = None


def outputs_of(labels: tuple[str, ...]) -> list[dict]:
    """Return the outputs of a model as its metadata name them; the labels are a parameter."""
    return [
        {"name": OUTPUT_NAME, "datatype": "FP32", "shape": [-1, len(labels)],
         "parameters": {"labels": list(labels)}},
        {"name": LABEL_NAME, "datatype": "BYTES", "shape": [-1]},
        {"name": CONFIDENCE_NAME, "datatype": "FP32", "shape": [-1]},
        {"name": VERDICT_NAME, "datatype": "BYTES", "shape": [-1]},
        {"name": FOREIGN_NAME, "datatype": "FP32", "shape": [-1]},
    ]  # fmt: skip


def read_request(
    body: bytes, json_length: str | None, model_name: str, known: list[str]
) -> InferRequest:
    """Read a request; its one input holds uint8 (N, 28, 28, 3) as a numpy array.

    Args:
        body: The whole of it.
        json_length: The header Inference-Header-Content-Length: how many bytes of it are JSON;
            None where all are.
        model_name: Whom it asks.
        known: Names of the outputs there are.

    Raises:
        InvalidInput: It is malformed, or has another input than the model's, or asks for another
            output.
    """
    length = _whole_number(json_length, len(body))
    fields = _fields(body[:length])
    images = _images(fields.inputs, body[length:])
    outputs = [RequestedOutput(out.name, out.parameters or {}) for out in fields.outputs or []]
    for name in (output.name for output in outputs):
        if name not in known:
            raise InvalidInput(f"unknown output {name!r}: expected {', '.join(known)}")
    return InferRequest(
        model_name,
        [InferInput(INPUT_NAME, list(images.shape), "UINT8", images)],
        fields.id,
        parameters=fields.parameters or {},
        request_outputs=outputs or None,
    )


def _whole_number(text: str | None, most: int) -> int:
    """Return the length of the JSON part."""
    if text is None:
        return most
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > most:
        raise InvalidInput(
            f"Inference-Header-Content-Length: expected 0 to {most}, the length of this body, "
            f"found {text[:20]!r}"
        )
    return int(text)


def _fields(text: bytes) -> Body:
    try:
        return Body.model_validate(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"expected a JSON object, found what is none: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise InvalidInput(f"{place}: {first['msg'].lower()}") from None


def _images(inputs: list[Tensor], behind: bytes) -> np.ndarray:
    if [tensor.name for tensor in inputs] != [INPUT_NAME]:
        found = ", ".join(tensor.name for tensor in inputs) or "none"
        raise InvalidInput(f"wrong inputs: {WANTED}; found {found}")
    (tensor,) = inputs
    shape = tuple(tensor.shape)
    if tensor.datatype != "UINT8" or shape[1:] != IMAGE_SHAPE or shape[0] < 1:
        raise InvalidInput(f"wrong input: {WANTED}; found {tensor.datatype} {list(shape)}")
    size = int(np.prod(shape, dtype=object))  # Python's own numbers: no overflow
    if tensor.data is not None:
        return _from_json(tensor.data, size).reshape(shape)
    told = (tensor.parameters or {}).get("binary_data_size")
    if told is None:
        raise InvalidInput(f"{INPUT_NAME} has neither data nor the parameter binary_data_size")
    if type(told) is not int or told != size or len(behind) != size:
        raise InvalidInput(
            f"{INPUT_NAME}: a shape of {list(shape)} has {size} bytes, binary_data_size says "
            f"{told!r}, {len(behind)} follow the JSON"
        )
    return np.frombuffer(behind, np.uint8).reshape(shape)


def _from_json(data: Any, size: int) -> np.ndarray:
    """Return the pixels of a list, flat or nested."""
    try:
        found = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{INPUT_NAME}: its lists are of unequal lengths: {error}") from None
    if found.dtype.kind not in "iu":
        raise InvalidInput(f"{INPUT_NAME}: expected whole numbers 0..255, found {found.dtype}")
    if found.size != size:
        raise InvalidInput(f"{INPUT_NAME}: its shape has {size} numbers, its data {found.size}")
    if found.min() < 0 or found.max() > 255:
        raise InvalidInput(
            f"{INPUT_NAME}: expected numbers 0..255, found {found.min()} to {found.max()}"
        )
    return found.astype(np.uint8)
