"""Opens an ONNX network in onnxruntime: the one way for all that ask one.

Flow: takes a file, or its bytes; gives an onnxruntime.InferenceSession.
"""

import json
from pathlib import Path
from typing import Any

import onnxruntime

from bloodkeras.bloodmnist import unnamed
from bloodkeras.contract import INPUT_NAME, METADATA_PREFIX, OUTPUT_NAME, PAIR_LIMIT
from bloodkeras.cores import core_count
from bloodkeras.dataset import DataSet
from bloodkeras.errors import BloodkerasError, gist

# Idle threads wait awake for a moment. Measured, not guessed: `python -m bloodkeras benchmark
# exports/deeper`, on two cores of a Xeon, milliseconds for one image in fp32: 0.330 with one
# thread, 0.339 with two, 0.206 with two that spin.
SPINNING = True


def open_session(
    model: Path | bytes,
    threads: int | None = None,
    exact: bool = False,
    spinning: bool = SPINNING,
) -> onnxruntime.InferenceSession:
    """Open a network.

    Args:
        model: A file, or what is in one.
        threads: Of the processor; all cores when None.
        exact: Multiply int8 weights as uint8, which overflows on no processor and is slower.
        spinning: Whether idle threads wait awake for a moment.

    Raises:
        BloodkerasError: It is not a network that onnxruntime can load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or core_count()
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.x64quantprecision", str(int(exact)))
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base class but this
        name = "the network" if isinstance(model, bytes) else model
        raise BloodkerasError(f"onnxruntime cannot load {name}: {gist(error)}") from None


def must_be_exact(card: dict[str, Any], precision: str) -> bool:
    """Return whether nothing proves that an export's file is right on every processor.

    Args:
        card: What card.json of the export says; those of earlier versions prove nothing.
        precision: "float32", which is right everywhere, or "int8".
    """
    if precision != "int8":
        return False
    largest: int = card.get("int8", {}).get("largest_pair", PAIR_LIMIT + 1)
    return largest > PAIR_LIMIT


def read_dataset(session: onnxruntime.InferenceSession, path: Path) -> DataSet:
    """Return the data set that an export's network carries, after a look at its ends.

    Raises:
        BloodkerasError: It is not a network of this package.
    """
    inputs = {node.name: node.type for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    metadata = session.get_modelmeta().custom_metadata_map
    labels = metadata.get(METADATA_PREFIX + "labels")
    if inputs != {INPUT_NAME: "tensor(uint8)"} or OUTPUT_NAME not in outputs or labels is None:
        raise BloodkerasError(
            f"{path} is not a bloodkeras model: expected input {INPUT_NAME} (uint8), output "
            f"{OUTPUT_NAME} and labels in its metadata; found {inputs}, {outputs}"
        )
    labels = tuple(json.loads(labels))
    if outputs[OUTPUT_NAME][-1] != len(labels):
        raise BloodkerasError(
            f"{path} is not a bloodkeras model: {len(labels)} labels for {OUTPUT_NAME} "
            f"{outputs[OUTPUT_NAME]}"
        )
    shape = session.get_inputs()[0].shape
    try:
        side = int(shape[1]) if len(shape) == 4 else 0
        said = metadata.get(METADATA_PREFIX + "dataset")  # not there before it was a value
        found = DataSet.from_dict(json.loads(said)) if said else unnamed(labels, side)
        if found.class_names != labels or shape[1:] != [*found.image_shape]:
            raise BloodkerasError(f"it says that it is for {found.described()}")
    except (BloodkerasError, ValueError, TypeError) as error:
        raise BloodkerasError(
            f"{path} is not a bloodkeras model: {len(labels)} labels, {INPUT_NAME} {shape}; {error}"
        ) from None
    return found
