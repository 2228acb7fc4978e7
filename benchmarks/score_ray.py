"""200,000 images on two Ray nodes, one of them killed half way: is anything lost, how quick is it?

    python benchmarks/score_ray.py --model exports/tiny

Bare onnxruntime (one thread, all cores; images in memory), `bloodkeras score` in one process, then
on two nodes of one core each on this machine, unharmed and with one killed. Images a second are
those of the whole command, and those between the first and the last finished partition: what is
left when starting costs nothing. Every table is compared with the first, row for row, bit for bit.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as pq
from PIL import Image

from bloodkeras.answers.classifier import Classifier
from bloodkeras.bloodmnist import BLOODMNIST
from bloodkeras.images.arrays import image_bytes
from bloodkeras.images.synthetic import draw_arrays
from bloodkeras.scoring.ray_cluster import SETTINGS

DRAWN = 2_000  # cells; the others are these in another light
FILE_IMAGES = 20_000
BARE_SECONDS = 10.0


def main() -> None:
    """Run everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="exports/tiny", help="folder of an export")
    parser.add_argument("--count", type=int, default=200_000, help="images")
    parser.add_argument(
        "--photographs",
        action="store_true",
        help="JPEG files of 360x363 pixels, to be decoded and cropped",
    )
    parser.add_argument("--partition-images", type=int, default=4_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", asked.count, asked.photographs)
        bare = [bare_rate(asked.model, threads) for threads in (1, None)]
        print(f"{asked.model}, {asked.count:,} images, {os.cpu_count()} cores")
        print(f"{'':34}images/s  from first to last partition  of one process")
        print(f"{'bare onnxruntime, one thread':34}{bare[0]:8,.0f}")
        print(f"{'bare onnxruntime, all cores':34}{bare[1]:8,.0f}", flush=True)
        one = scored(asked, folder, "local")
        show("score, one process", one, one)
        show("score, Ray, two nodes", scored_on_nodes(asked, folder, kill=False), one)
        show("the same, one killed half way", scored_on_nodes(asked, folder, kill=True), one)
        tables = {out: pq.read_table(folder / out) for out in ("local", "ray", "ray-killed")}
    same = all(table.equals(tables["local"]) for table in tables.values())
    rows = ", ".join(f"{len(table):,}" for table in tables.values())
    print(f"rows: {rows}; the tables are {'equal, row for row' if same else 'NOT EQUAL'}")
    sys.exit(not same)


def write_images(folder: Path, count: int, photographs: bool) -> None:
    """Write drawn cells, each in a light of its own, as Parquet files of raw pixels or of JPEGs."""
    folder.mkdir()
    cells = draw_arrays({"train": 8, "val": 8, "test": DRAWN})["test_images"]
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, count, FILE_IMAGES)):
        rows = np.arange(start, min(start + FILE_IMAGES, count))
        light = rng.normal(0, 6, (len(rows), 1, 1, 3)) + rng.normal(0, 2, (len(rows), 28, 28, 1))
        images = np.clip(cells[rows % DRAWN] + light, 0, 255).astype(np.uint8)
        column = map(photograph, images) if photographs else map(np.ndarray.tobytes, images)
        kind = arrow.binary() if photographs else arrow.binary(image_bytes(BLOODMNIST.image_side))
        names = [f"cell-{row}" for row in rows]
        table = arrow.table({"id": names, "image": arrow.array(column, kind)})
        pq.write_table(table, folder / f"{number:03}.parquet", row_group_size=5_000)


def photograph(cell: np.ndarray) -> bytes:
    """Return a cell as a JPEG file of the size that the PBC set's photographs have."""
    buffer = io.BytesIO()
    Image.fromarray(cell).resize((360, 363)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def bare_rate(model: str, threads: int | None) -> float:
    """Return how many images a second the network answers by itself."""
    network = Classifier.load(model, threads)
    images = np.random.default_rng(0).integers(0, 256, (1024, *BLOODMNIST.image_shape), np.uint8)
    network.answer(images)
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < BARE_SECONDS:
        network.answer(images)
        count += len(images)
    return count / passed


def scored(asked, folder: Path, out: str, *options: str, watch=None) -> tuple[float, float]:
    """Run `bloodkeras score`; return images a second, of the command and between partitions."""
    words = [
        sys.executable,
        "-m",
        "bloodkeras",
        "score",
        str(folder / "images"),
        "--out",
        str(folder / out),
        "--model",
        asked.model,
        "--partition-images",
        str(asked.partition_images),
        *options,
    ]
    started = time.perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8"
    )
    if watch:
        watch(process)
    _, errors = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(words)}: {errors}")
    ends = sorted(path.stat().st_mtime for path in (folder / out).glob("part-*"))
    between = (len(ends) - 1) * asked.partition_images / max(ends[-1] - ends[0], 1e-9)
    return asked.count / seconds, between


def scored_on_nodes(asked, folder: Path, kill: bool) -> tuple[float, float]:
    """Do the same on two nodes of one core each; kill the second one half way, if that is asked."""
    os.environ.update(SETTINGS)
    from ray.cluster_utils import Cluster

    out = "ray-killed" if kill else "ray"
    half = asked.count // asked.partition_images // 2
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)

    def kill_half_way(process) -> None:
        while process.poll() is None and len(list((folder / out).glob("part-*"))) < half:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    try:
        options = ("--engine", "ray", "--address", cluster.address)
        return scored(asked, folder, out, *options, watch=kill_half_way if kill else None)
    finally:
        cluster.shutdown()


def show(title: str, rates: tuple[float, float], one: tuple[float, float]) -> None:
    """Print one line of the table."""
    print(f"{title:34}{rates[0]:8,.0f}{rates[1]:31,.0f}{rates[0] / one[0]:16.0%}", flush=True)


if __name__ == "__main__":
    main()
