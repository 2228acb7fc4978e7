"""Makes one line that names the file of whatever a bad image file makes a decoder do.

Flow: wraps `decode.py`; gives a BloodkerasError, and silence instead of warnings.
"""

import ctypes
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from PIL import Image, UnidentifiedImageError, _imaging

from bloodkeras.errors import BloodkerasError

UNSUPPORTED = r"unsupported|not supported|cannot handle|not configured"  # Pillow's words for it
KINDS = "PNG, JPEG, TIFF, BMP, WebP, GIF, PNM"

# Pillow logs some damage as an error; without any handler Python would print that.
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(AttributeError, OSError):  # libtiff prints its own, unless it is out of reach
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


class Refused(ValueError):
    """A sound file that holds no photograph of one cell; the message is the reason."""


@contextmanager
def refusals(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a bad file makes a decoder raise into one line, and its warnings into none.

    Raises:
        BloodkerasError: Anything was raised inside.
    """
    name = shown(path)
    try:
        with _QUIET:
            yield
    except BloodkerasError:
        raise
    except UnidentifiedImageError:
        raise BloodkerasError(
            f"{name} is not an image that can be read ({KINDS}), or its beginning is damaged"
        ) from None
    except Exception as error:  # hostile bytes bring out KeyError, struct.error, and any other
        raise BloodkerasError(f"cannot read {name}: {_reason(error)}") from None


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as one printable line: line breaks and bytes that are no text as escapes."""
    return "".join(
        char if char.isprintable() else _escaped(char) for char in os.fsdecode(os.fspath(path))
    )


def _escaped(char: str) -> str:
    if 0xDC80 <= ord(char) <= 0xDCFF:  # how Python carries a byte of a name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    told = isinstance(error, (Refused, Image.DecompressionBombError))
    if told or getattr(error, "errno", None) is not None or "null byte" in text:
        return text
    if re.search(UNSUPPORTED, text, re.I):
        return f"it is not supported ({text}): save it as PNG, JPEG or plain TIFF"
    return f"it is damaged or cut short ({text or type(error).__name__})"


class _Quiet:
    """Silences Pillow's warnings while any thread is inside.

    `warnings.catch_warnings` alone restores another thread's filters when two overlap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._saved.__exit__(None, None, None)


_QUIET = _Quiet()
