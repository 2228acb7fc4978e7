"""Nothing leaves the machine: no file of a usage count, no look-up, from any way in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from PIL import Image

from bloodkeras import _QUIET

ROOT = Path(__file__).parents[1]
TINY = ROOT / "exports/tiny"
NEEDED = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")  # to start Python at all
SECONDS = 12  # onnxruntime looks its server up after five or so
# What is asked is not bloodkeras: this is what the others would find if nothing was done.
BARE = f"""
import numpy, onnxruntime
session = onnxruntime.InferenceSession({str(TINY / "model.onnx")!r})
session.run(None, {{"images": numpy.zeros((1, 28, 28, 3), numpy.uint8)}})
"""
COMMAND = """
import sys
from bloodkeras.__main__ import main
if __name__ == "__main__":
    main()
"""
PYTHON = "import bloodkeras; bloodkeras.load('tiny').predict('cell.png')"
MODULE = f"""
from bloodkeras.laboratory.activation_map import ActivationMap
ActivationMap({str(TINY)!r})
"""
WAYS_IN = {
    "predict": (COMMAND, ["predict", "cell.png", "--model", "tiny"]),
    "score, in worker processes": (
        COMMAND,
        ["score", ".", "--out", "../out", "--workers", "2", "--model", "tiny"],
    ),
    "Python": (PYTHON, []),
    "a module of the runtime": (MODULE, []),
}
counts_users = pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 29),
    reason="onnxruntime counts its users from 1.29 on",
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a cell in it, and an empty home beside it."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (28, 28), "white").save(tmp_path / "work/cell.png")
    return tmp_path


def start(folder: Path, code: str, words=(), before=(), **variables) -> subprocess.Popen:
    """Run Python with an empty home and few variables: where CI is set, onnxruntime keeps still."""
    (folder / "program.py").write_text(code, encoding="utf-8")
    home = {name: str(folder / "home") for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")}
    known = {name: os.environ[name] for name in NEEDED if name in os.environ}
    return subprocess.Popen(
        [*before, sys.executable, folder / "program.py", *words],
        cwd=folder / "work",
        env=known | home | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def files_left(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in (folder / "home").rglob("*")]


@counts_users
def test_onnxruntime_alone_leaves_files(folder):
    """So the tests below would notice."""
    assert start(folder, BARE).wait(60) == 0
    assert any("onnxruntime" in name for name in files_left(folder))


@pytest.mark.parametrize("way", WAYS_IN)
def test_nothing_is_left_in_the_home(folder, way):
    code, words = WAYS_IN[way]
    program = start(folder, code, words)
    said, _ = program.communicate(timeout=60)
    assert program.returncode == 0, said
    assert files_left(folder) == []


@pytest.mark.slow
@counts_users
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_nothing_is_looked_up(folder, tmp_path_factory):
    trace = folder / "trace"
    before = ["strace", "-f", "-qq", "-e", "trace=network", "-o", trace]
    wait = f"\nimport time\ntime.sleep({SECONDS})"
    other = tmp_path_factory.mktemp("bare")
    (other / "home").mkdir()
    (other / "work").mkdir()
    ours = start(folder, COMMAND + wait, WAYS_IN["predict"][1], before)
    bare = start(other, BARE + wait, (), [*before[:-1], other / "trace"])
    for program in (ours, bare):
        said, _ = program.communicate(timeout=120)
        if "ptrace" in said or "PTRACE" in said:
            pytest.skip("strace may not trace here")
        assert program.returncode == 0, said
    assert "AF_INET" in (other / "trace").read_text(encoding="utf-8")  # it would be seen
    assert "AF_INET" not in trace.read_text(encoding="utf-8")


def test_whoever_sets_a_variable_himself_is_left_alone(folder):
    code = "import bloodkeras, os; print(*(os.environ[name] for name in bloodkeras._QUIET))"
    said, _ = start(folder, code).communicate(timeout=60)
    assert said.split() == list(_QUIET.values())
    said, _ = start(folder, code, **dict.fromkeys(_QUIET, "mine")).communicate(timeout=60)
    assert said.split() == ["mine"] * len(_QUIET)


def test_gradio_counts_nobody(folder):
    pytest.importorskip("gradio", reason="gradio is not installed: pip install 'bloodkeras[demo]'")
    code = (
        "import bloodkeras, gradio, huggingface_hub.constants as hub\n"
        "print(gradio.utils.get_package_version() != '', gradio.analytics.analytics_enabled(),"
        " hub.HF_HUB_DISABLE_TELEMETRY)"
    )
    said, _ = start(folder, code).communicate(timeout=120)
    assert said.split()[-3:] == ["True", "False", "True"], said


def test_ray_counts_nobody(folder):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'bloodkeras[ray]'")
    code = (
        "import bloodkeras\nfrom ray._common.usage import usage_lib as usage\n"
        "print(usage.usage_stats_enabled())"
    )
    said, _ = start(folder, code).communicate(timeout=120)
    assert said.split()[-1] == "False", said
