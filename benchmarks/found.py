"""Says how many of the annotated white cells `find` finds, how many it invents, and how quickly.

    python benchmarks/found.py FIELDS BOXES [HALF [SIZE]]

Flow: takes a folder of fields and a CSV with the columns file, kind, left, top, right and bottom,
whose kind of white cells is WBC; runs `find` into a temporary folder. Prints the share of the boxes
in which the middle of a found nucleus lies, each found cell counting for one box; the cells that
belong to no box, one by one, for annotations may be missing; and the fields a second of one core's
time, after the scale is estimated, files and pictures included. HALF is 0 or 1: every second field
alone, from that one on, as the thresholds were chosen on half 0. SIZE resizes the fields, 0.5 to
half their width: as if through a weaker objective.
"""

import csv
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from PIL import Image

from bloodkeras.fields.boxes import Box, read_boxes
from bloodkeras.fields.find import find_cells_in
from bloodkeras.fields.ruler import field_scale
from bloodkeras.images.folder import looks_like_image

Edges = tuple[int, int, int, int]  # left, top, right, bottom


def main(folder: str, table: str, half: str = "", size: str = "1") -> None:
    """Print what was found."""
    files = sorted(path for path in Path(folder).iterdir() if looks_like_image(path.name))
    files = files[int(half) :: 2] if half else files
    boxes = read_annotations(table, float(size))
    with tempfile.TemporaryDirectory() as place:
        files = [resized(path, Path(place), float(size)) for path in files]
        scale = field_scale(files)
        started = time.process_time()
        tally = find_cells_in([str(path) for path in files], f"{place}/cells", scale)
        seconds = time.process_time() - started
        found = [row for row in read_boxes(Path(place, "cells")) if row.crop]
    missed, invented = compare(found, {path.stem: boxes[path.stem] for path in files})
    count = sum(len(boxes[path.stem]) for path in files)
    print(f"{len(files)} fields of {scale:g} micrometres a pixel, {tally['blurred']} out of focus")
    print(f"found {count - len(missed)} of {count} annotated cells: {1 - len(missed) / count:.1%}")
    for name, edges in missed:
        print(f"    missed: {name} {edges}")
    print(f"{len(invented)} belong to no box, {len(invented) / len(files):.3f} a field")
    for row in invented:
        where = f"{row.left},{row.top} to {row.right},{row.bottom}"
        print(
            f"    no box: {Path(row.field).name} {where}{', at the edge' * (row.at_edge == 'yes')}"
        )
    print(f"{len(files) / seconds:.1f} fields a second of one core")


def resized(path: Path, place: Path, size: float) -> Path:
    """Return a field that is so many times as wide, without further loss."""
    if size == 1:
        return path
    with Image.open(path) as image:
        wanted = round(size * image.width), round(size * image.height)
        copy = place / f"{path.stem}.png"
        image.convert("RGB").resize(wanted, Image.Resampling.LANCZOS).save(copy)
    return copy


def read_annotations(table: str, size: float) -> dict[str, list[Edges]]:
    """Return the boxes of white cells by name, resized; a box that is there twice counts once."""
    boxes: dict[str, list[Edges]] = defaultdict(list)
    with open(table, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            left, top, right, bottom = (
                round(size * int(row[edge])) for edge in ("left", "top", "right", "bottom")
            )
            own, edges = boxes[Path(row["file"]).stem], (left, top, right, bottom)
            if row["kind"] == "WBC" and edges not in own:
                own.append(edges)
    return boxes


def compare(
    found: list[Box], boxes: dict[str, list[Edges]]
) -> tuple[list[tuple[str, Edges]], list[Box]]:
    """Return the annotated cells that were not found, and the found ones that are none of them."""
    left_over = {name: list(own) for name, own in boxes.items()}
    invented = []
    for row in found:
        x, y = (int(row.left) + int(row.right)) / 2, (int(row.top) + int(row.bottom)) / 2
        own = left_over[Path(row.field).stem]
        hit = next((b for b in own if b[0] <= x <= b[2] and b[1] <= y <= b[3]), None)
        if hit:
            own.remove(hit)
        else:
            invented.append(row)
    return [(name, edges) for name, own in left_over.items() for edges in own], invented


if __name__ == "__main__":
    main(*sys.argv[1:])
