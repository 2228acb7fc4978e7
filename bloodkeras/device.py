"""Chooses what TensorFlow computes on.

Flow: takes `--device`; to be called before TensorFlow has computed anything.
"""

from bloodkeras.errors import BloodkerasError, UsageError

DEVICES = ("auto", "cpu", "gpu")


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
        print(f"device: {details.get('device_name', gpus[0].name)}")
