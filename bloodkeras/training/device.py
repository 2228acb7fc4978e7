"""Chooses what TensorFlow computes on, and in which precision it trains there.

Flow: takes `--device`, to be called before TensorFlow has computed anything; takes a recipe's
`train_precision` and gives one that Keras knows.
Sources: archspec for the processor's instructions, on Linux, macOS and Windows alike.
"""

import functools
import logging
import os

from bloodkeras.errors import BloodkerasError, UsageError

LOG = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "gpu")
AUTO = "auto"
FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"  # as Keras calls them
# With either of them oneDNN, which TensorFlow leaves its convolutions to, multiplies bfloat16 in
# one go. With neither a step takes from twice to many times what it does in float32
# (docs/training.md).
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
BFLOAT16_CAPABILITY = (8, 0)  # of an NVIDIA GPU: Ampere, 2020
NO_LIMIT = ("", "ALL", "DEFAULT")  # values of ONEDNN_MAX_CPU_ISA


def check_device(name: str) -> None:
    """Refuse a name that is none, before TensorFlow is imported.

    Raises:
        UsageError: It is not one of DEVICES.
    """
    if name not in DEVICES:
        raise UsageError(f"--device takes one of {', '.join(DEVICES)}, not {name!r}")


def choose_device(name: str) -> None:
    """Let TensorFlow see a GPU or not, and say which it uses.

    Raises:
        BloodkerasError: A GPU is asked for and TensorFlow sees none.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if name == "gpu" and not gpus:
        raise BloodkerasError(
            "--device gpu: TensorFlow sees no GPU here; use --device cpu, or install its GPU "
            "version (pip install 'tensorflow[and-cuda]') and a driver"
        )
    if name == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        LOG.info(f"device: {details.get('device_name', gpus[0].name)}")


def choose_precision(asked: str) -> str:
    """Return the precision to train in: what "auto" stands for here, anything else as it is."""
    if asked != AUTO:
        return asked
    return BFLOAT16 if has_quick_bfloat16() else FLOAT32


@functools.cache  # once a process is enough: `held-out` trains eight networks
def warn_of_slow(precision: str) -> None:
    """Warn that a precision is slow here, if it is."""
    if precision == BFLOAT16 and not has_quick_bfloat16():
        LOG.warning(
            "training in bfloat16 is slow here, maybe many times slower than in float32, because "
            "neither this processor nor a GPU has instructions for it (AVX512-BF16, AMX); "
            f"--precision {AUTO} takes what is quick"
        )


def has_quick_bfloat16() -> bool:
    """Return whether what TensorFlow computes on multiplies bfloat16; False where nobody knows."""
    import tensorflow as tf

    if gpus := tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        return bool(details.get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY)
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    limited = limit not in NO_LIMIT and "BF16" not in limit and "AMX" not in limit
    if limited or os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return False
    return not instructions().isdisjoint(BFLOAT16_INSTRUCTIONS)


@functools.cache
def instructions() -> frozenset[str]:
    """Return the processor's instruction sets, as Linux names them; none where nobody knows.

    What was detected, not `archspec.cpu.host().features`: those are a known processor's, and a
    virtual one that lacks anything at all is taken for an older one.
    """
    import warnings

    from archspec.cpu.detect import detected_info

    with warnings.catch_warnings(action="ignore"):
        return frozenset(detected_info().features)


@functools.cache
def processor() -> str:
    """Return the kind of processor, such as zen4, m2 or x86_64_v4."""
    import archspec.cpu

    return str(archspec.cpu.host().name)
