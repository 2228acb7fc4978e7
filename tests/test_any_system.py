"""Linux, macOS, Windows: encodings are named, consoles may lack letters, no module is Unix' only.

Flow: reads the sources, and runs the commands as another system would have it run them.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_export import build_export

from bloodkeras.scoring import lock

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("bloodkeras/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])
NOT_TEXT = {"Image", "os", "zipfile", "archive", "webbrowser", "places", "oracle"}  # their .open
PROCESSES = {"run", "Popen", "check_output", "check_call", "call", "getoutput"}
CELL = "\u7d30\u80de.jpg"  # no console of Western Europe has these letters


# --- text has an encoding -------------------------------------------------------------------------


def unnamed_encodings(source: str) -> list[int]:
    """Return the lines where text is read or written in whatever encoding the machine prefers."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and not _names_encoding(node) and _is_text(node)
    ]


def _names_encoding(call: ast.Call) -> bool:
    return any(keyword.arg in ("encoding", None) for keyword in call.keywords)


def _is_text(call: ast.Call) -> bool:
    named = getattr(call.func, "attr", getattr(call.func, "id", ""))
    method = isinstance(call.func, ast.Attribute)
    of = getattr(getattr(call.func, "value", None), "attr", "")
    of = of or getattr(getattr(call.func, "value", None), "id", "")
    options = {keyword.arg: keyword.value for keyword in call.keywords}
    if named in ("read_text", "write_text"):
        return method
    if named in PROCESSES and of == "subprocess":
        return bool({"text", "universal_newlines"} & set(options)) or named == "getoutput"
    if named == "fdopen" or (named == "open" and of not in NOT_TEXT):
        at = 0 if method and of not in ("io", "codecs") and named == "open" else 1
        mode = options.get("mode") or (call.args[at] if len(call.args) > at else None)
        texts = [n.value for n in ast.walk(mode) if isinstance(n, ast.Constant)] if mode else []
        modes = [text for text in texts if isinstance(text, str)]
        return not modes or any("b" not in text for text in modes)
    if named in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile"):
        mode = options.get("mode") or (call.args[0] if call.args else None)
        return isinstance(mode, ast.Constant) and "b" not in mode.value
    return named == "popen" and of == "os"


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("open(p, mode)", True),
        ("open(p, 'rb')", False),
        ("open(p, 'r+b' if x else 'wb')", False),
        ("open(p, 'r' if x else 'wb')", True),
        ("open(p, encoding='utf-8')", False),
        ("p.open()", True),
        ("p.open('ab')", False),
        ("p.read_text()", True),
        ("p.write_text(t, encoding='utf-8')", False),
        ("read_text(p)", False),
        ("Image.open(p)", False),
        ("subprocess.run(w, text=True)", True),
        ("subprocess.run(w, text=True, encoding='utf-8')", False),
        ("subprocess.run(w)", False),
        ("os.fdopen(f)", True),
        ("tempfile.NamedTemporaryFile()", False),
        ("tempfile.NamedTemporaryFile('w')", True),
    ],
)
def test_the_search_for_encodings_finds_what_it_should(source, is_found):
    assert bool(unnamed_encodings(source)) is is_found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_is_read_and_written_in_a_named_encoding(path):
    """A Windows machine would take its code page, and a letter it lacks ends the program."""
    assert unnamed_encodings(path.read_text(encoding="utf-8")) == []


def test_a_recipe_that_an_editor_began_with_a_mark_is_read(tmp_path):
    from bloodkeras.recipe import read_recipe, write_recipe
    from bloodkeras.recipes import named_recipe

    write_recipe(named_recipe("tiny"), tmp_path / "recipe.json")
    text = (tmp_path / "recipe.json").read_text(encoding="utf-8")
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8-sig")
    assert read_recipe(tmp_path / "recipe.json") == named_recipe("tiny")


# --- a console that lacks letters -----------------------------------------------------------------


@pytest.fixture
def cell(tmp_path):
    build_export(tmp_path / "export")
    Image.new("RGB", (28, 28), "red").save(tmp_path / CELL)
    return CELL


def predict(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bloodkeras", "predict", *words, "--model", "export"]
    here = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    paths = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, cwd=folder, env=here | paths | environment, timeout=120
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "cp437"},
        {"LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda environment: " ".join(environment.values()),
)
@pytest.mark.parametrize("kind", ["", "csv", "jsonl"])
def test_a_letter_that_the_console_lacks_is_an_escape(tmp_path, cell, environment, kind):
    """Not a traceback: the answer is there, in one row."""
    done = predict(tmp_path, cell, *(["--format", kind] if kind else []), **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + (kind == "csv")
    assert b"basophil" in lines[-1]
    assert b"\\u7d30\\u80de.jpg" in lines[-1] or b"\\udce7" in lines[-1]  # as C's locale names it


def test_an_error_with_such_a_name_is_one_line(tmp_path, cell):
    done = predict(tmp_path, "\u7d30.png", PYTHONIOENCODING="cp1252:strict")
    assert done.returncode == 1
    assert done.stderr.decode().strip() == r"bloodkeras: no such file or folder: \u7d30.png"


def test_a_console_that_has_the_letters_shows_them(tmp_path, cell):
    done = predict(tmp_path, cell, PYTHONIOENCODING="utf-8")
    assert done.stdout.decode().startswith(CELL)


@pytest.mark.parametrize("words", [[], ["predict", "--help"]])
def test_help_opens_no_pager(words):
    """Windows has no `cat`, and nobody wants to press q."""
    pytest.importorskip("pty", reason="needs a Unix terminal")
    import pty

    parent, child = pty.openpty()
    command = [sys.executable, "-m", "bloodkeras", *words]
    here = os.environ | {"PYTHONPATH": str(ROOT), "PAGER": "false", "TERM": "xterm"}
    done = subprocess.run(command, stdin=child, stdout=child, stderr=child, env=here, timeout=120)
    os.close(child)
    assert done.returncode == 0
    assert b"bloodkeras" in os.read(parent, 4096)
    os.close(parent)


# --- modules that only Unix has -------------------------------------------------------------------

UNIX = ("fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "syslog")
LACKING = ("sched_getaffinity", "sched_setaffinity", "fork", "geteuid", "getuid", "killpg")
AS_WINDOWS = f"""
import os, shutil, signal, sys
shutil._use_fd_functions = False
for name in {UNIX!r}: sys.modules[name] = None
for name in {LACKING!r}: delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGCHLD"): delattr(signal, name)

def is_open(path):
    for handle in os.listdir("/proc/self/fd"):
        try:
            found = os.readlink("/proc/self/fd/" + handle)
        except OSError:
            continue
        if found == path or found.startswith(path + "/"):
            return True
    return False

def watch(event, args):
    if event == "open" and isinstance(args[0], str) and not args[0].startswith(("/proc", "/dev")):
        path, mode, flags = args
        if mode is None and flags & os.O_TMPFILE != os.O_TMPFILE and os.path.isdir(path):
            raise PermissionError(13, "Windows opens no folder", args[0])
        elif set(os.path.basename(args[0])) & set('<>:"|?*\\\\'):
            raise OSError(22, "Windows takes no such name", args[0])
    if event in ("os.remove", "os.rename", "os.rmdir"):
        for path in args[:1 + (event == "os.rename")]:
            if is_open(os.path.abspath(path)):
                raise PermissionError(13, "Windows says it is open", os.fspath(path))

if os.path.isdir("/proc/self/fd"): sys.addaudithook(watch)
sys.argv[1:] = sys.argv[2:]
from bloodkeras.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="imitates Windows elsewhere")
def test_what_a_deployment_runs_needs_nothing_that_only_unix_has(tmp_path, cell):
    """Where importing fcntl fails, and an open file can be neither removed nor replaced."""
    pytest.importorskip("pyarrow")
    np.savez(tmp_path / "x.npz", **{"a:b": np.zeros((2, 28, 28, 3), np.uint8)})
    (tmp_path / "cells").mkdir()
    (tmp_path / CELL).rename(tmp_path / "cells" / CELL)
    for words in (
        ["predict", "cells", "--model", "export", "--out", "x.csv", "--report", "x.html"],
        ["predict", "cells", "--model", "export", "--out", "x.csv", "--resume"],
        ["predict", "cells", "--model", "export", "--out", "x.parquet"],
        ["predict", "x.npz", "--model", "export", "--sort-into", "sorted"],
        ["score", "cells", "--model", "export", "--out", "answers"],
        ["score", "cells", "--model", "export", "--out", "answers"],
        ["judge", "export", "--photos", "cells", "--labels", "labels.csv"],
    ):
        (tmp_path / "labels.csv").write_text(f"file,label\n{CELL},0\n", encoding="utf-8")
        command = [sys.executable, "-c", AS_WINDOWS, "-", *words]
        here = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", cwd=tmp_path, env=here, timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "answers" / "part-000000.parquet").is_file()


LOCK = "import sys; from bloodkeras.scoring.lock import take_lock; "
LOCK += "print(take_lock(open(sys.argv[1], 'wb')))"


def test_another_process_does_not_get_the_lock_until_it_is_free(tmp_path):
    def other() -> str:
        command = [sys.executable, "-c", LOCK, str(tmp_path / "lock")]
        here = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", env=here, timeout=60
        ).stdout.strip()

    with open(tmp_path / "lock", "wb") as mine:
        assert lock.take_lock(mine)
        assert other() == "False"
    assert other() == "True"


def test_windows_own_locks_are_taken_where_there_are_no_others(tmp_path, monkeypatch):
    """msvcrt, as far as it can be imitated: it says EACCES of what another process has."""
    taken = []

    class Msvcrt:
        LK_NBLCK = 2

        @staticmethod
        def locking(handle, mode, count):
            if taken:
                raise PermissionError(13, "Permission denied")
            taken.append((handle, mode, count))

    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", Msvcrt)
    with open(tmp_path / "lock", "wb") as first, open(tmp_path / "lock", "wb") as second:
        assert lock.take_lock(first)
        assert not lock.take_lock(second)
        assert taken == [(first.fileno(), 2, 1)]
    monkeypatch.setattr(lock, "msvcrt", None)
    with open(tmp_path / "lock", "wb") as file:
        assert lock.take_lock(file)


# --- Git for Windows ------------------------------------------------------------------------------


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, encoding="utf-8", timeout=120)
    if done.returncode:
        pytest.skip(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout


def test_git_for_windows_leaves_the_exports_as_they_were_published(tmp_path):
    """With core.autocrlf, its default, text files get other line ends; checksums are of bytes."""
    from bloodkeras.answers.export_folder import verify_checksums

    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone of the repository")
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--shared", "--config", "core.autocrlf=true", str(ROOT), str(clone))
    assert b"\r\n" in (clone / "LICENSE").read_bytes()  # so it was in force
    folders = [path.parent for path in clone.glob("exports/*/SHA256SUMS")]
    assert folders
    for folder in folders:
        assert b"\r\n" not in (folder / "SHA256SUMS").read_bytes()
        verify_checksums(folder)
