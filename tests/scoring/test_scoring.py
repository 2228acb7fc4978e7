"""Scoring in partitions: the answers are the classifier's, whoever is killed in between.

They run where pyarrow is installed, those with Ray where Ray is, too.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from drawn_field import field
from PIL import Image

pytest.importorskip("pyarrow", reason="needs the extra parquet")
import pyarrow as arrow
import pyarrow.parquet as pq

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.predict import score
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.scoring import partition as partition_module
from bloodkeras.scoring.command import Options, score_source
from bloodkeras.scoring.partition import Worker
from bloodkeras.scoring.ray_cluster import SETTINGS
from bloodkeras.scoring.ray_engine import run_ray

EXPORTS = Path(__file__).parents[2] / "exports"
TINY = str(EXPORTS / "tiny")
RAW = arrow.binary(28 * 28 * 3)
unix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and limits of Unix")


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    """Drawn cells, all different, uint8 (300, 28, 28, 3)."""
    return draw_arrays({"train": 8, "val": 8, "test": 300})["test_images"]


@pytest.fixture(scope="module")
def folder(cells, tmp_path_factory) -> Path:
    """150 of them as files in two folders, ten photographs of 360x363 among them."""
    top = tmp_path_factory.mktemp("images")
    (top / "b").mkdir()
    for k, cell in enumerate(cells[:150]):
        image = Image.fromarray(cell)
        if k % 15 == 0:
            image = image.resize((360, 363))
        image.save(top / ("b" if k % 2 else "") / f"{k:03}.png")
    return top


@pytest.fixture(scope="module")
def table(cells, tmp_path_factory) -> Path:
    """All of them as Parquet: two files of raw pixels, whose row groups fit no partition."""
    top = tmp_path_factory.mktemp("tables")
    for number, part in enumerate((cells[:170], cells[170:])):
        write_raw(top / f"{number}.parquet", part, [f"cell {i}" for i in range(len(part))], 37)
    return top


def write_raw(path: Path, images: np.ndarray, ids: list | None = None, group: int = 1000) -> Path:
    columns = {"image": arrow.array([image.tobytes() for image in images], RAW)}
    if ids:
        columns["id"] = ids
    pq.write_table(arrow.table(columns), path, row_group_size=group, write_page_checksum=True)
    return path


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def run(source, out, **options) -> list[dict]:
    """Score in this process; return the rows, in order."""
    score_source(Options(str(source), str(out), **{"model": TINY} | options))
    return rows_of(out)


def rows_of(out) -> list[dict]:
    return [
        row for part in sorted(Path(out).glob("part-*")) for row in pq.read_table(part).to_pylist()
    ]


def command(source, out, *options: str) -> list[str]:
    model = () if "--model" in options else ("--model", TINY)
    words = ("score", str(source), "--out", str(out), *model, *options)
    return [sys.executable, "-m", "bloodkeras", *words]


def start(source, out, *options: str, **how) -> subprocess.Popen:
    how = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True} | how
    return subprocess.Popen(command(source, out, *options), **how)


def refusal(source, out, error=BloodkerasError, **options) -> str:
    with pytest.raises(error) as caught:
        run(source, out, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def wait_for_parts(out: Path, count: int, process: subprocess.Popen, seconds=60) -> None:
    """Wait until so many partitions are finished, while others are not."""
    deadline = time.monotonic() + seconds
    while len(list(out.glob("part-*"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def numbers(row: dict) -> np.ndarray:
    return np.float32([value for name, value in row.items() if name.startswith("prob_")])


# --- the answers are the classifier's -----------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_folder_is_answered_as_the_classifier_answers_it(folder, tmp_path, precision):
    rows = run(folder, tmp_path / "out", partition_images=64, precision=precision)
    own = Classifier.load(TINY, precision=precision).predict([row["path"] for row in rows])
    assert len(rows) == len(own) == 150
    for row, answer in zip(rows, own, strict=True):
        found = row["label"], row["verdict"], row["error"]
        assert found == (answer.label, answer.verdict, answer.reason or None)
        assert np.float32(row["confidence"]) == np.float32(answer.confidence)
        assert (numbers(row) == answer.probs).all()  # 64 divides the partition: the same batches


@pytest.mark.parametrize(
    "asked", [{"prior": "blood", "views": True}, {"classes": "monocyte, platelet"}]
)
def test_it_is_asked_as_the_classifier_is(table, cells, tmp_path, asked):
    rows = run(table, tmp_path / "out", partition_images=64, **asked)
    prior = asked.get("prior") or [name.strip() for name in asked["classes"].split(",")]
    own = Classifier.load(TINY).answer(cells, prior, asked.get("views", False))
    assert [row["verdict"] for row in rows] == own.verdicts.tolist()
    np.testing.assert_allclose([numbers(row) for row in rows], own.probs, atol=1e-6)
    said = refusal(table, tmp_path / "out", partition_images=64)
    assert re.search("was begun with prior .*, this is none", said)
    assert run(table, tmp_path / "out", partition_images=64, **asked) == rows


def test_the_scale_is_that_of_predict(folder, tmp_path):
    rows = run(folder, tmp_path / "out", microns_per_pixel=0.2)
    own = Classifier.load(TINY).predict([row["path"] for row in rows], microns_per_pixel=0.2)
    np.testing.assert_allclose(
        [numbers(row) for row in rows], [answer.probs for answer in own], atol=1e-6
    )
    plain = run(folder, tmp_path / "plain")
    assert any((numbers(a) != numbers(b)).any() for a, b in zip(rows, plain, strict=True))


def test_a_job_keeps_its_estimated_scale(tmp_path, monkeypatch):
    """It stands in the plan, and is not estimated again."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(8):
        field(1, 500 + 2 * number).save(photos / f"{number}.png")
    rows = run(photos, tmp_path / "out", partition_images=4)
    plan = json.loads((tmp_path / "out" / "_plan" / "plan.json").read_text(encoding="utf-8"))
    (scale,) = plan["scales"].values()
    given = run(photos, tmp_path / "given", microns_per_pixel=scale)
    assert [row["confidence"] for row in rows] == [row["confidence"] for row in given]
    monkeypatch.setattr("bloodkeras.images.scale.SAMPLE", 0)  # nothing could be estimated now
    monkeypatch.setattr("bloodkeras.images.scale.estimated", None)
    next((tmp_path / "out").glob("*.parquet")).unlink()
    assert run(photos, tmp_path / "out", partition_images=4) == rows


def test_a_folder_is_answered_as_predict_does(folder, tmp_path):
    """The columns are the same, and the numbers to the six decimals that predict writes."""
    rows = run(folder, tmp_path / "out", partition_images=13)
    score([str(folder)], TINY, str(tmp_path / "predict.parquet"))
    predicted = pq.read_table(tmp_path / "predict.parquet").to_pylist()
    assert [list(row) for row in rows] == [list(row) for row in predicted]
    for row, other in zip(rows, predicted, strict=True):
        np.testing.assert_allclose(numbers(row), numbers(other), atol=1e-6)
        assert [row[name] for name in ("path", "label", "verdict", "error")] == [
            other[name] for name in ("path", "label", "verdict", "error")
        ]


@pytest.mark.parametrize("partition_images", [20, 64, 100, 1000])
def test_raw_pixels_in_parquet(table, cells, tmp_path, partition_images):
    rows = run(table, tmp_path / "out", partition_images=partition_images)
    assert len(list((tmp_path / "out").glob("part-*"))) == -(-300 // partition_images)
    assert [row["path"] for row in rows] == [f"cell {i}" for n in (170, 130) for i in range(n)]
    own = Classifier.load(TINY).predict_proba(cells)
    np.testing.assert_allclose([numbers(row) for row in rows], own, atol=1e-5)
    if partition_images in (64, 1000):
        assert (np.stack([numbers(row) for row in rows]) == own).all()


@pytest.mark.parametrize("kind", [arrow.binary(), arrow.large_binary()])
def test_image_files_in_parquet(cells, tmp_path, kind):
    contents = [png(cells[0]), b"", None, b"no image", png(cells[1])[:300], png(cells[2])]
    source = tmp_path / "in.parquet"
    pq.write_table(arrow.table({"image": arrow.array(contents, kind)}), source, row_group_size=4)
    with pytest.raises(BloodkerasError, match="4 of 6 images could not be read: see their rows"):
        run(source, tmp_path / "out", partition_images=4)
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [f"{source}#{k}" for k in range(6)]
    answered = [row for row in rows if row["label"]]
    own = Classifier.load(TINY).predict_proba(cells[[0, 2]])
    np.testing.assert_allclose([numbers(row) for row in answered], own, atol=1e-6)
    errors = [row["error"] for row in rows if row["error"]]
    assert ["empty" in errors[0], "null" in errors[1], "not an image" in errors[2]] == [True] * 3
    assert all(len(error.splitlines()) == 1 for error in errors)


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (arrow.array([7, 8, None]), ["7", "8", "{source}#2"]),
        (arrow.array(["ä", "a\nb", ""], arrow.large_string()), ["ä", "a\nb", ""]),
        (arrow.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
    ],
)
def test_rows_are_named(cells, tmp_path, ids, names):
    source = tmp_path / "in.parquet"
    images = arrow.array([cell.tobytes() for cell in cells[:3]], RAW)
    pq.write_table(arrow.table({"id": ids, "image": images}), source)
    rows = run(source, tmp_path / "out")
    assert [row["path"] for row in rows] == [name.format(source=source) for name in names]


def test_a_row_without_raw_pixels_is_an_error(cells, tmp_path):
    images = [cells[0].tobytes(), None, cells[1].tobytes()]
    pq.write_table(arrow.table({"image": arrow.array(images, RAW)}), tmp_path / "in.parquet")
    with pytest.raises(BloodkerasError, match="1 of 3"):
        run(tmp_path / "in.parquet", tmp_path / "out")
    assert [bool(row["error"]) for row in rows_of(tmp_path / "out")] == [False, True, False]


def test_a_damaged_parquet_file_costs_its_own_rows(cells, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    write_raw(source / "a.parquet", cells[:100], group=50)
    write_raw(source / "b.parquet", cells[100:110])
    content = bytearray((source / "a.parquet").read_bytes())
    middle = len(content) * 3 // 4
    content[middle : middle + 10_000] = bytes(10_000)
    run(source, tmp_path / "sound", partition_images=30)
    (source / "a.parquet").write_bytes(content)
    with pytest.raises(BloodkerasError, match="could not be read"):
        run(source, tmp_path / "out", partition_images=30)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 110
    assert not any(row["error"] for row in [*rows[:50], *rows[100:]])
    assert "a.parquet" in rows[99]["error"]


def test_bad_images_are_rows(folder, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(folder, source)
    (source / "000.png").write_bytes(b"no image")
    (source / "b" / "001.png").unlink()
    (source / "b" / "001.png").symlink_to("nowhere")
    os.rename(source / "002.png", os.fsencode(source) + b"/002\xe4.png")
    with pytest.raises(BloodkerasError, match="2 of 150 images could not be read"):
        run(source, tmp_path / "out", partition_images=40)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 150
    unread = {Path(row["path"]).name for row in rows if row["error"] and not row["label"]}
    assert unread == {"000.png", "001.png"}
    assert "002\\udce4.png" in {Path(row["path"]).name for row in rows}


def test_the_pages_of_a_file_are_rows_each(cells, tmp_path):
    pages = [Image.fromarray(cell) for cell in cells[:3]]
    (tmp_path / "in").mkdir()
    pages[0].save(tmp_path / "in" / "pages.tif", save_all=True, append_images=pages[1:])
    rows = run(tmp_path / "in", tmp_path / "out", partition_images=1)
    assert [row["path"].rsplit("#")[1] for row in rows] == ["0", "1", "2"]


def test_threads_processes_and_batches_answer_alike(table, tmp_path):
    rows = run(table, tmp_path / "one", partition_images=50)
    assert run(table, tmp_path / "two", partition_images=50, workers=2) == rows
    others = run(table, tmp_path / "seven", partition_images=50, batch=7)
    for row, other in zip(rows, others, strict=True):
        np.testing.assert_allclose(numbers(row), numbers(other), atol=1e-5)


def test_others_read_the_folder_as_one_data_set(table, tmp_path):
    rows = run(table, tmp_path / "out", partition_images=100)
    assert pq.read_table(tmp_path / "out").to_pylist() == rows


# --- a rerun goes on ----------------------------------------------------------------------------


def test_only_what_is_missing_or_damaged_is_done_again(table, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    rows = run(table, out, partition_images=50)
    whole = {path: path.read_bytes() for path in out.glob("part-*")}
    missing, damaged, others = (out / f"part-00000{k}.parquet" for k in (1, 3, 4))
    missing.unlink()
    (out / ".writing-part-000001.parquet-host-1").write_bytes(whole[missing][:100])
    damaged.write_bytes(whole[damaged][:-100])
    shutil.copy(out / "part-000000.parquet", others)  # whole, but not what belongs there
    done = []
    write_part = partition_module.write_part
    monkeypatch.setattr(
        partition_module, "write_part", lambda *given: done.append(given[2]) or write_part(*given)
    )
    capsys.readouterr()
    assert run(table, out, partition_images=50) == rows
    assert done == [1, 3, 4]
    assert "3 of 6 partitions are finished already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.glob("part-*")} == whole
    assert not list(out.glob(".writing*"))
    assert run(table, out, partition_images=50) == rows
    assert done == [1, 3, 4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": str(EXPORTS / "deeper")}, "model tiny, this is deeper"),
        ({"precision": "int8"}, "precision float32, this is int8"),
        ({"batch": 8}, "batch 64, this is 8"),
        ({"partition_images": 60}, "partition images 50, this is 60"),
    ],
)
def test_another_plan_is_refused(table, tmp_path, options, words):
    rows = run(table, tmp_path / "out", partition_images=50)
    message = refusal(table, tmp_path / "out", **{"partition_images": 50} | options)
    assert words in message
    assert "or choose another --out" in message
    assert rows_of(tmp_path / "out") == rows


def test_another_source_is_refused(table, folder, cells, tmp_path):
    source = tmp_path / "in"
    shutil.copytree(table, source)
    run(source, tmp_path / "out")
    write_raw(source / "1.parquet", cells[:130], None, 37)  # as many rows, other ones
    assert "source sha256" in refusal(source, tmp_path / "out")
    assert "kind Parquet" in refusal(folder, tmp_path / "out")
    shutil.copytree(folder, tmp_path / "images")
    run(tmp_path / "images", tmp_path / "other")
    (tmp_path / "images" / "000.png").write_bytes(b"")
    assert "source sha256" in refusal(tmp_path / "images", tmp_path / "other")


@unix
@pytest.mark.parametrize(
    ("kill", "workers"), [("SIGKILL", "1"), ("SIGKILL", "2"), ("SIGTERM", "1"), ("SIGINT", "2")]
)
def test_stopped_in_the_middle_and_gone_on_with(big, reference, tmp_path, workers, kill):
    kill = getattr(signal, kill)
    out = tmp_path / "out"
    process = start(big, out, "--partition-images", "100", "--workers", workers)
    wait_for_parts(out, 3, process)
    process.send_signal(kill)
    _, errors = process.communicate(timeout=20)
    if kill == signal.SIGKILL:
        assert process.returncode == -kill
    else:
        status, name = {signal.SIGTERM: (1, "SIGTERM"), signal.SIGINT: (130, "Ctrl-C")}[kill]
        assert (process.returncode, errors) == (status, f"bloodkeras: stopped by {name}\n")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 3 <= len(kept) < 30
    time.sleep(0.2)  # its processes are gone, too
    assert {path: path.stat().st_mtime_ns for path in out.glob("part-*")} == kept
    assert run(big, out, partition_images=100) == reference
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.fixture(scope="module")
def big(cells, tmp_path_factory) -> Path:
    """3,000 images, all different."""
    path = tmp_path_factory.mktemp("big") / "in.parquet"
    shifted = [np.clip(cells.astype(int) + 2 * k, 0, 255).astype(np.uint8) for k in range(10)]
    return write_raw(path, np.concatenate(shifted), group=700)


@pytest.fixture(scope="module")
def reference(big, tmp_path_factory) -> list[dict]:
    """What one process answers, uninterrupted."""
    return run(big, tmp_path_factory.mktemp("reference") / "out", partition_images=100)


@pytest.mark.parametrize("workers", [1, 2])
def test_how_far_it_is_is_said_within_a_partition_too(big, tmp_path, capsys, monkeypatch, workers):
    """A partition may last for minutes; nobody is to wait for its end to hear of it."""
    from bloodkeras import progress
    from bloodkeras.scoring import local

    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(local, "ASK_SECONDS", 0.02)
    run(big, tmp_path / "out", partition_images=3000, workers=workers)
    said = [line for line in capsys.readouterr().err.splitlines() if " of 3,000 images" in line]
    done = [int(line.split()[0].replace(",", "")) for line in said]
    assert len(set(done)) > 2
    assert done == sorted(done)
    assert done[-1] == 3000


def test_a_killed_process_of_several_is_one_line(big, tmp_path):
    import psutil

    process = start(big, tmp_path / "out", "--partition-images", "100", "--workers", "2")
    wait_for_parts(tmp_path / "out", 2, process)
    children = psutil.Process(process.pid).children()
    next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith("bloodkeras: a worker process was killed")
    assert len(errors.splitlines()) == 1


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"picture": [b"x"]}, "has no column image: expected image, binary"),
        ({"image": ["text"]}, "its column image is string: expected binary"),
        ({"image": [[1, 2]]}, "its column image is list"),
        ({"image": arrow.array([b"x"], arrow.binary(1))}, "fixed_size_binary[1]: expected binary"),
        ({"image": [b"x"], "id": [1.5]}, "its column id is double: expected text"),
        ({"image": arrow.array([], arrow.binary())}, "holds no rows"),
    ],
)
def test_another_schema_is_refused(tmp_path, columns, words):
    source = tmp_path / "in.parquet"
    pq.write_table(arrow.table(columns), source)
    message = refusal(source, tmp_path / "out")
    assert words in message
    assert str(source) in message
    assert not (tmp_path / "out").exists()


def test_what_is_no_source_is_refused(folder, table, tmp_path):
    out = tmp_path / "out"
    assert "no such file or folder" in refusal(tmp_path / "none", out)
    (tmp_path / "empty").mkdir()
    assert "no image in the folder" in refusal(tmp_path / "empty", out)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no PAR1")
    assert "bad.parquet as Parquet" in refusal(tmp_path / "bad.parquet", out)
    assert "neither a folder of images nor a Parquet file" in refusal(folder / "000.png", out)
    shutil.copytree(folder, tmp_path / "both")
    shutil.copy(table / "0.parquet", tmp_path / "both")
    assert "holds both Parquet and images" in refusal(tmp_path / "both", out)


def test_a_place_for_other_things_is_refused(folder, table, tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert "cannot write" in refusal(folder, tmp_path / "file")
    assert "holds other files" in refusal(folder, tmp_path)
    assert "lies in" in refusal(folder, folder / "out", UsageError)
    if sys.platform == "linux":
        assert "cannot write" in refusal(folder, "/proc/out")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_two_at_once_are_refused(big, tmp_path):
    process = start(big, tmp_path / "out", "--partition-images", "100")
    try:
        wait_for_parts(tmp_path / "out", 1, process)
        assert "another `bloodkeras score`" in refusal(big, tmp_path / "out", partition_images=100)
    finally:
        process.kill()
        process.communicate()


@unix
def test_a_full_disk_is_one_line_and_leaves_whole_partitions(big, reference, tmp_path):
    out = tmp_path / "out"
    first = start(big, out, "--partition-images", "100")
    wait_for_parts(out, 2, first)
    first.kill()
    first.communicate()
    kept = len(list(out.glob("part-*")))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)); "
        "from bloodkeras.__main__ import main; main()"
    )
    words = [sys.executable, "-c", code, *command(big, out, "--partition-images", "100", "-q")[3:]]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("bloodkeras: cannot write")
    assert len(done.stderr.splitlines()) == 1
    assert len(list(out.glob("part-*"))) == kept
    assert run(big, out, partition_images=100) == reference


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--engine", "spark"], 2, "--engine takes local or ray, not 'spark'"),
        (["--address", "here:1"], 2, "it needs --engine ray"),
        (["--partition-images", "0"], 2, "--partition-images: expected 1 to 1,000,000, found 0"),
        (["--batch", "999"], 2, "--batch: expected 1 to 256"),
        (["--workers", "-1"], 2, "--workers"),
        (["--precision", "int4"], 2, "int4"),
        (["--prior", "estimate"], 2, "--prior estimate is for `predict`"),
        (["--prior", "blod"], 1, "did you mean 'blood'"),
        (["--classes", "lymfocyte"], 2, "did you mean 'lymphocyte'"),
        (["--microns-per-pixel", "9"], 2, "expected 0.005 to 2"),
        (["--model", "exports/none"], 1, "exports/none"),
    ],
)
def test_a_wrong_option_is_one_line(table, tmp_path, options, status, words):
    done = subprocess.run(
        command(table, tmp_path / "out", *options),
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("package", "extra"), [("ray", "bloodkeras[ray]"), ("pyarrow", "bloodkeras[parquet]")]
)
def test_a_missing_package_names_the_install(table, tmp_path, package, extra):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from bloodkeras.__main__ import main; main()"
    )
    engine = "ray" if package == "ray" else "local"
    words = command(table, tmp_path / "out", "--engine", engine)[3:]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"pip install '{extra}'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_machine_with_another_version_does_not_work_on_a_plan(table, tmp_path):
    run(table, tmp_path / "out", partition_images=100)
    plan = tmp_path / "out" / "_plan" / "plan.json"
    plan.write_text(
        json.dumps(json.loads(plan.read_text(encoding="utf-8")) | {"onnxruntime": "0.1"}),
        encoding="utf-8",
    )
    with pytest.raises(BloodkerasError, match=r"the plan is for onnxruntime 0.1, this machine has"):
        Worker(tmp_path / "out", 1)


def test_a_partition_that_kills_its_workers_is_given_up(table, tmp_path):
    out = tmp_path / "out"
    run(table, out, partition_images=100)
    (out / "part-000001.parquet").unlink()
    for k in range(5):
        (out / f".writing-part-000001.parquet-host-{k}").touch()
    with pytest.raises(BloodkerasError, match="partition 1 was begun 5 times"):
        Worker(out, 1).classify(1)
    assert Worker(out, 1).classify(0).partition == 0
    assert len(run(table, out, partition_images=100)) == 300  # a new call tries again


# --- on a Ray cluster ---------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one core on this machine: (cluster, the node that can be killed)."""
    pytest.importorskip("ray.data", reason="needs the extra ray")
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = made.add_node(num_cpus=1)
    yield made, node
    made.shutdown()


def test_a_lost_node_costs_a_retry_and_not_a_result(cluster, big, tmp_path):
    cluster, node = cluster
    heavy = {"model": str(EXPORTS / "deeper"), "partition_images": 100}
    reference = run(big, tmp_path / "local", **heavy)
    out = tmp_path / "out"
    process = start(
        big,
        out,
        "--partition-images",
        "100",
        "--engine",
        "ray",
        "--address",
        cluster.address,
        "--model",
        heavy["model"],
    )
    wait_for_parts(out, 6, process)
    cluster.remove_node(node, allow_graceful=False)
    left = 30 - len(list(out.glob("part-*")))
    text, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert left > 0
    assert "a machine was lost" in errors
    assert "wrote 3,000 rows" in text
    assert rows_of(out) == reference  # to the last bit
    assert not list(out.glob(".writing*"))


@unix
def test_ray_stops_at_ctrl_c_and_goes_on(big, reference, tmp_path):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    out = tmp_path / "out"
    options = ("--partition-images", "100", "--engine", "ray", "--workers", "2", "-q")
    process = start(big, out, *options)
    wait_for_parts(out, 2, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "bloodkeras: stopped by Ctrl-C\n")
    assert 2 <= len(list(out.glob("part-*"))) < 30
    assert run(big, out, partition_images=100) == reference


def test_what_no_worker_can_do_is_one_line(table, tmp_path):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    run(table, tmp_path / "out", partition_images=100)
    (tmp_path / "out" / "part-000001.parquet").unlink()
    plan = tmp_path / "out" / "_plan" / "plan.json"
    plan.write_text(
        json.dumps(json.loads(plan.read_text(encoding="utf-8")) | {"onnxruntime": "0.1"}),
        encoding="utf-8",
    )
    words = r"the plan is for onnxruntime 0.1, this machine has .* \(on [0-9.]+\)"
    with pytest.raises(BloodkerasError, match=words):
        list(run_ray(tmp_path / "out", [1], 1, "", lambda partition: None))


def test_a_cluster_that_is_not_there_is_one_line(table, tmp_path):
    pytest.importorskip("ray.data", reason="needs the extra ray")
    ray = ("--engine", "ray", "--address", "127.0.0.1:1", "-q")
    process = start(table, tmp_path / "out", *ray)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.startswith("bloodkeras: no Ray cluster at 127.0.0.1:1: ")
    assert len(errors.splitlines()) == 1, errors
