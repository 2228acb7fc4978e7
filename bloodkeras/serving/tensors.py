"""Turns the body of a request into what it asks, and says what is wrong with one that asks nothing.

Flow: takes bytes, in JSON or with binary tensors behind JSON, or one photograph; gives an `Asked`.
Source: the Open Inference Protocol v2 and its extension for binary data.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from fastapi import HTTPException
from pydantic import BaseModel, StrictInt, StrictStr, ValidationError

from bloodkeras.contract import INPUT_NAME
from bloodkeras.dataset import DataSet
from bloodkeras.errors import UsageError
from bloodkeras.images.framing import Framing
from bloodkeras.named_types import Json, Pixels

PHOTOGRAPHS_NAME = "photographs"  # files, as a camera or a browser has them
MICRONS = "microns_per_pixel"  # the parameter of a request that holds photographs
_JSON_KINDS = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
LENGTH_BYTES = 4  # before each element of a binary BYTES tensor


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


@dataclass(frozen=True)
class Asked:
    """What a request asks: of pixels, or of photographs.

    Attributes:
        images: uint8 (N, S, S, 3); None where photographs came.
        photographs: Image files; none where pixels came.
        framing: What is known of the photographs.
        outputs: Each name that is wanted, and whether it is wanted in binary.
        request_id: What the client calls it; "" for nothing.
    """

    images: Pixels | None
    photographs: list[bytes]
    framing: Framing
    outputs: dict[str, bool]
    request_id: str = ""


def inputs_of(dataset: DataSet) -> list[Json]:
    """Return the inputs of a model as its metadata name them."""
    return [
        {"name": INPUT_NAME, "datatype": "UINT8", "shape": [-1, *dataset.image_shape]},
        {"name": PHOTOGRAPHS_NAME, "datatype": "BYTES", "shape": [-1]},
    ]


def read_photograph(body: bytes, dataset: DataSet, known: list[str]) -> Asked:
    """Read a body that is one image file and nothing else.

    Args:
        body: The whole of it.
        dataset: What the model takes.
        known: Names of the outputs there are.
    """
    return Asked(None, [body], Framing(image_side=dataset.image_side), dict.fromkeys(known, False))


def read_request(body: bytes, json_length: str | None, dataset: DataSet, known: list[str]) -> Asked:
    """Read a request of the protocol.

    Args:
        body: The whole of it.
        json_length: The header Inference-Header-Content-Length: how many bytes of it are JSON;
            None where all are.
        dataset: What the model takes.
        known: Names of the outputs there are.

    Raises:
        HTTPException: 400: it is malformed, or has another input than the model's, or asks for
            another output.
    """
    length = _whole_number(json_length, len(body))
    fields = _fields(body[:length])
    if len(fields.inputs) != 1 or fields.inputs[0].name not in (INPUT_NAME, PHOTOGRAPHS_NAME):
        found = ", ".join(tensor.name for tensor in fields.inputs) or "none"
        raise _wrong(f"wrong inputs: {_wanted(dataset)}; found {found}")
    (tensor,), behind = fields.inputs, body[length:]
    files = tensor.datatype == "BYTES"
    return Asked(
        None if files else _images(tensor, behind, dataset),
        _photographs(tensor, behind, dataset) if files else [],
        _framing(fields.parameters or {}, dataset.image_side),
        _outputs(fields, known),
        fields.id or "",
    )


def _wrong(reason: str) -> HTTPException:
    return HTTPException(400, reason)


def _whole_number(text: str | None, most: int) -> int:
    """Return the length of the JSON part."""
    if text is None:
        return most
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > most:
        raise _wrong(
            f"Inference-Header-Content-Length: expected 0 to {most}, the length of this body, "
            f"found {text[:20]!r}"
        )
    return int(text)


def _fields(text: bytes) -> Body:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _wrong(
            f"expected a JSON object, found something else ({error}); a photograph sent as it is "
            "needs the header Content-Type: image/jpeg or image/png"
        ) from None
    if not isinstance(found, dict):
        raise _wrong(f"the body: expected a JSON object, found {_JSON_KINDS[type(found)]}")
    try:
        return Body.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        raise _wrong(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


def _outputs(fields: Body, known: list[str]) -> dict[str, bool]:
    binary = (fields.parameters or {}).get("binary_data_output", False)
    wanted = {
        output.name: bool((output.parameters or {}).get("binary_data", binary))
        for output in fields.outputs or []
    }
    for name in wanted:
        if name not in known:
            raise _wrong(f"unknown output {name!r}: expected {', '.join(known)}")
    return wanted or dict.fromkeys(known, bool(binary))


def _framing(parameters: Json, side: int) -> Framing:
    told = parameters.get(MICRONS, 0)
    if type(told) not in (int, float):
        raise _wrong(f"parameters.{MICRONS}: expected a number, found {told!r:.40}")
    try:
        return Framing(told, image_side=side)
    except UsageError as error:
        raise _wrong(f"parameters.{MICRONS}: {error}") from None


def _images(tensor: Tensor, behind: bytes, dataset: DataSet) -> Pixels:
    """Return the pixels of a request, uint8 (N, S, S, 3)."""
    shape = tuple(tensor.shape)
    right = tensor.name == INPUT_NAME and tensor.datatype == "UINT8"
    if not right or shape[1:] != dataset.image_shape or shape[0] < 1:
        raise _wrong_input(tensor, dataset)
    size = int(np.prod(shape, dtype=object))  # Python's own numbers: no overflow
    if tensor.data is not None:
        return _from_json(tensor.data, size).reshape(shape)
    _check_binary(tensor, behind)
    if len(behind) != size:
        raise _wrong(
            f"{INPUT_NAME}: a shape of {list(shape)} has {size} bytes, {len(behind)} follow the "
            "JSON"
        )
    return np.frombuffer(behind, np.uint8).reshape(shape)


def _wanted(dataset: DataSet) -> str:
    shape = ", ".join(map(str, dataset.image_shape))
    return (
        f"expected {INPUT_NAME}, UINT8 [N, {shape}], RGB pixels 0..255, or {PHOTOGRAPHS_NAME}, "
        "BYTES [N], image files"
    )


def _wrong_input(tensor: Tensor, dataset: DataSet) -> HTTPException:
    found = f"{tensor.datatype} {tensor.shape}"
    return _wrong(f"{tensor.name}: {_wanted(dataset)}; found {found}")


def _check_binary(tensor: Tensor, behind: bytes) -> None:
    told = (tensor.parameters or {}).get("binary_data_size")
    if told is None:
        raise _wrong(f"{tensor.name} has neither data nor the parameter binary_data_size")
    if type(told) is not int or told != len(behind):
        raise _wrong(
            f"{tensor.name}: binary_data_size says {told!r:.40}, {len(behind)} follow the JSON"
        )


def _from_json(data: Any, size: int) -> Pixels:
    """Return the pixels of a list, flat or nested."""
    try:
        found = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise _wrong(f"{INPUT_NAME}: its lists are of unequal lengths: {error}") from None
    if found.dtype.kind not in "iu":
        raise _wrong(f"{INPUT_NAME}: expected whole numbers 0..255, found {found.dtype}")
    if found.size != size:
        raise _wrong(f"{INPUT_NAME}: its shape has {size} numbers, its data {found.size}")
    if found.min() < 0 or found.max() > 255:
        raise _wrong(f"{INPUT_NAME}: expected numbers 0..255, found {found.min()} to {found.max()}")
    return found.astype(np.uint8)


def _photographs(tensor: Tensor, behind: bytes, dataset: DataSet) -> list[bytes]:
    """Return the files of a request: base64 in JSON, as they are in binary."""
    if len(tensor.shape) != 1 or tensor.shape[0] < 1:
        raise _wrong_input(tensor, dataset)
    if tensor.data is None:
        _check_binary(tensor, behind)
        files = [_decoded(element) or element for element in _elements(tensor, behind)]
    elif not isinstance(tensor.data, list):
        raise _wrong(f"{tensor.name}: expected a list of files in base64")
    else:
        files = [_from_base64(text, k, tensor.name) for k, text in enumerate(tensor.data)]
    if len(files) != tensor.shape[0]:
        raise _wrong(f"{tensor.name}: its shape has {tensor.shape[0]} files, its data {len(files)}")
    return files


def _elements(tensor: Tensor, behind: bytes) -> list[bytes]:
    """Return the elements of a binary BYTES tensor: each follows its length, little-endian."""
    found, place = [], 0
    while place < len(behind):
        start = place + LENGTH_BYTES
        place = start + int.from_bytes(behind[start - LENGTH_BYTES : start], "little")
        found.append(behind[start:place])
    if place != len(behind):
        raise _wrong(
            f"{tensor.name}: expected four bytes of length before each file; element "
            f"{len(found) - 1} goes beyond the end of the body"
        )
    return found


def _from_base64(text: Any, k: int, name: str) -> bytes:
    if not isinstance(text, str):
        raise _wrong(f"{name}[{k}]: expected a file in base64, found {type(text).__name__}")
    # A browser's data URL says its kind first; many tools break lines.
    text = text.partition(",")[2] if text.startswith("data:") else text
    content = _decoded("".join(text.split()).encode())
    if content is None:
        raise _wrong(f"{name}[{k}]: expected a file in base64, found text that is none")
    return content


def _decoded(text: bytes) -> bytes | None:
    """Return what base64 stands for; None for what is none, as every image file is."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
