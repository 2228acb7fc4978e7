"""What comes before a step: the packages it needs, TensorFlow without its notes, data, folders.

Flow: takes the options that most commands have; gives a `Study`.
"""

import importlib.util
import os
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bloodkeras.errors import UsageError, missing_package

if TYPE_CHECKING:
    from bloodkeras.studies.study import Study


def need(extra: str, *packages: str) -> None:
    """Refuse to start without the packages of an extra.

    Raises:
        BloodkerasError: One is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, extra)


def check_port(port: int) -> None:
    """Refuse a number that no port has.

    Raises:
        UsageError: It is out of range.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port: expected 0 to 65535, found {port}")


def open_study(
    data: str, runs: str, exports: str = "", size: int = 0, targets: Iterable[str] = ()
) -> "Study":
    """Return the study of some data in some folders.

    Args:
        data: As in `load_splits`.
        runs: Folder of all runs.
        exports: Folder of all exports; "" for the usual one.
        size: As in `load_splits`; 0: that of the targets.
        targets: Runs and exports that the data are for. Where no data are named, those of drawn
            cells are judged on drawn cells.
    """
    from bloodkeras.data.splits import load_splits
    from bloodkeras.studies.study import Study
    from bloodkeras.studies.targets import data_for

    data, side = data_for(targets, data, runs)
    return Study(load_splits(data or None, size or side), runs, exports)


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up notes, which no setting turns off.

    They are written to the process' stderr before its logging is set up. If the import fails,
    they are shown after all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except ImportError as error:
            if error.name != "tensorflow":
                notes.seek(0)
                os.write(stderr, notes.read())
            raise missing_package("TensorFlow", "train") from None
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
