"""Checks that any file gives honest pixels or one line, in bounded memory and without a hang.

Flow: takes the folder of `bad_files.py`, read in one subprocess; gives a failure a kind.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from bad_files import ANSWER, make_bad_files
from forged_images import cell, encoded

import bloodkeras

PACKAGE = Path(bloodkeras.__file__).parent
READER = """
import json, sys
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.preprocess import read_image

def megabytes():  # not getrusage: its peak begins at that of the process that started this one
    with open("/proc/self/status") as file:
        (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
    return int(peak) / 1024

outcomes, start = {}, megabytes()
for path in json.load(sys.stdin):
    try:
        pixels = read_image(path)
        outcomes[path] = [str(pixels.dtype), pixels.tolist()]
    except BloodkerasError as error:
        outcomes[path] = str(error)
print(json.dumps([outcomes, megabytes() - start]))
"""


def read_all(paths: list[str]) -> subprocess.CompletedProcess:
    """Read files in a process in which a warning is a crash; a hang ends it, too."""
    command = [sys.executable, "-W", "error", "-c", READER]
    text = json.dumps(paths)
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


LINUX = sys.platform == "linux"
pytestmark = pytest.mark.skipif(not LINUX, reason="makes files, and counts memory, as Linux does")
with tempfile.TemporaryDirectory() as _folder:  # names the kinds, before there are any tests
    _made = make_bad_files(Path(_folder)) if LINUX else ()
    KINDS = [Path(path).relative_to(_folder).as_posix() for path in _made]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """{path: ANSWER, or part of the refusal}."""
    return make_bad_files(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def reading(expected):
    """The finished process, which read every file."""
    start = time.monotonic()
    done = read_all(list(expected))
    done.seconds = time.monotonic() - start
    return done


@pytest.fixture(scope="module")
def outcomes(reading):
    """{path: line of refusal, or [type, pixels]}."""
    assert reading.returncode == 0, reading.stderr
    return json.loads(reading.stdout)[0]


@pytest.mark.parametrize("kind", KINDS, ids=ascii)
def test_kind_of_file(kind, expected, outcomes):
    """Each is refused with one line that names it and the reason, or answered rightly."""
    (path,) = (path for path in expected if path.endswith("/" + kind))
    found = outcomes[path]
    if expected[path] == ANSWER:
        assert isinstance(found, list), found
        pixels = np.array(found[1])
        assert (found[0], pixels.shape) == ("uint8", (28, 28, 3))
        reference = np.asarray(cell().resize((28, 28), 2)).astype(int)
        assert np.abs(pixels - reference).mean() < 4  # a negative, or the second page: over 60
    else:
        assert isinstance(found, str), "answered, though it should be refused"
        assert expected[path] in found
        assert found.isprintable()  # one line, whatever the name
        if Path(path).name.isprintable():
            assert path in found


def test_at_least_forty_kinds_are_refused(expected):
    """The folder is as bad as it is meant to be."""
    assert sum(outcome != ANSWER for outcome in expected.values()) >= 40


def test_nothing_is_printed_and_memory_and_time_are_bounded(reading):
    """No warning of Pillow's or libtiff's; less memory than the smallest bomb unpacks to."""
    assert reading.stderr == ""
    assert json.loads(reading.stdout)[1] < 200  # MB above the imports
    assert reading.seconds < 30


@pytest.mark.slow
def test_largest_accepted_photograph_is_read_in_bounded_memory(tmp_path):
    """A picture at the limit, in the most costly format: libwebp keeps several copies."""
    from PIL import Image

    path = tmp_path / "large.webp"
    path.write_bytes(encoded(Image.new("RGB", (8000, 8000)), "WEBP", quality=10, method=0))
    done = read_all([str(path)])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[1] < 1100
