"""On annotated fields beside the real data, white cells are found and few are invented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("skimage", reason="needs scikit-image, of the extra find")
pytestmark = pytest.mark.needs_data
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nearly_all_annotated_cells_are_found(real_data):
    folder = real_data.parent / "fields"
    if not (folder / "boxes.csv").is_file():
        pytest.skip("needs annotated fields and boxes.csv in fields/ beside the real data")
    words = [sys.executable, ROOT / "benchmarks/found.py", folder, folder / "boxes.csv", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    (found,) = re.findall(r"^found (\d+) of (\d+) annotated", done.stdout, re.MULTILINE)
    (invented,) = re.findall(r"belong to no box, ([\d.]+) a field", done.stdout)
    assert int(found[0]) >= 0.97 * int(found[1]) > 0
    assert float(invented) <= 0.1
