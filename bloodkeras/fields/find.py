"""Cuts the white cells out of whole fields of view.

Flow: takes the words of a command line; gives a folder of crops with their scale and the table of
boxes, and a folder of pictures that show what was found. Fields are read ahead and held few at a
time; what is in the table is done, and an interrupted job goes on behind it.
"""

import io
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import bloodkeras
from bloodkeras.answers.formats import one_line, valid_text
from bloodkeras.answers.origin import refuse_another
from bloodkeras.answers.table import origin_path, read_origin
from bloodkeras.errors import BloodkerasError, UsageError
from bloodkeras.fields.boxes import TABLE, Box, Boxes, Stems
from bloodkeras.fields.nuclei import cells_of, outline_width, stained_at
from bloodkeras.fields.overlay import draw
from bloodkeras.fields.ruler import HOW, field_scale, is_narrow
from bloodkeras.fields.squares import cut
from bloodkeras.images.arrays import Item, error_part
from bloodkeras.images.decode import rgb
from bloodkeras.images.folder import SCALE_FILE, PassedOver
from bloodkeras.images.framing import Framing
from bloodkeras.images.scale import read_beside
from bloodkeras.images.sources import STDIN, check_words, find_paths, read_ahead, read_pages
from bloodkeras.named_types import Pixels
from bloodkeras.progress import Progress
from bloodkeras.whole_file import make_folder, remove_temporary, replace_file, write_text

LOG = logging.getLogger(__name__)

OVERLAYS = "-overlays"  # behind the name of the folder of crops: in it they would be read as cells
LEAST_MICRONS = 10.0  # across, which a field must show
LEAST_SIDE = 100  # pixels of a field
BLURRED = 0.85  # micrometres over which outlines rise: sharp ones need 0.4 to 0.7
SAID = 20  # fields with something wrong that are named on standard error
EMPTY = "no white cell"


def find_cells_in(
    words: list[str], out: str, microns_per_pixel: float = 0.0, resume: bool = False
) -> Counter[str]:
    """Cut the white cells out of all fields that the words mean.

    Args:
        words: Files, folders, globs; `-` for a list of paths on standard input.
        out: The folder of the crops and the table; the pictures lie in `<out>-overlays`.
        microns_per_pixel: Of the fields; 0 where that is to be estimated from what they show.
        resume: Go on with an interrupted job.

    Returns:
        How many "fields", "cells", cells "at edge", "blurred" and "empty" fields there are, and how
        many were "left out".

    Raises:
        UsageError: The options contradict each other.
        BloodkerasError: A path is missing, a place cannot be written, or the scale cannot be told.
    """
    folder, pictures = Path(out), Path(f"{os.path.normpath(out)}{OVERLAYS}")
    scale = Framing(microns_per_pixel).microns_per_pixel
    _check(words, (folder, pictures), scale, resume)
    scale = _begin(words, folder, scale)
    make_folder(pictures)
    passed, tally, total = PassedOver(), Counter[str](), None
    if STDIN not in words:
        total = partial(_count, words)
    with Boxes(folder, resume) as table:
        done = {row.field for row in table.kept}
        _tally(tally, table.kept)
        stems = Stems(table.kept)
        with Progress(total, len(done)) as progress:
            for name, field in _fields(words, done, passed):
                rows, files = _looked_through(name, field, scale, stems)
                for place, content in files.items():
                    _write(folder if place.endswith(".png") else pictures, place, content)
                table.add(rows)
                _tally(tally, rows)
                _say(rows[0], tally)
                progress.add(1)
        table.finish()
    passed.say()
    return tally


def conclude(tally: Counter[str], out: str) -> None:
    """Print how many were found.

    Raises:
        BloodkerasError: Images were left out.
    """
    cells, fields = tally["cells"], tally["fields"]
    edge = f", {tally['at edge']:,} of them cut by a field's edge" if tally["at edge"] else ""
    print(f"{_many(fields, 'field')}, {_many(cells, 'white cell')} into {out}{edge}")
    if tally["blurred"]:
        LOG.warning(f"{_many(tally['blurred'], 'field')} out of focus")
    if fields and not cells:
        LOG.warning("no white cell was found: do the pictures with boxes show any?")
    if left := tally["left out"]:
        total = f"{left + fields:,} images"
        raise BloodkerasError(f"{left:,} of {total} were left out: {Path(out) / TABLE} says why")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


# --- before the first field -----------------------------------------------------------------------


def _check(words: list[str], places: tuple[Path, Path], scale: float, resume: bool) -> None:
    """Refuse what cannot be begun, before anything is read or written."""
    check_words(words)
    if STDIN in words and not scale:
        raise UsageError(f"a list on standard input comes once, so the scale must be known: {HOW}")
    for place in places:
        for word in filter(os.path.isdir, words):
            if place.resolve().is_relative_to(Path(word).resolve()):
                raise UsageError(f"--out: {place} lies in {word}, which is read: choose another")
        if not resume and place.is_dir() and any(place.iterdir()):
            raise BloodkerasError(
                f"{place} holds something already: go on with --resume, or choose another --out"
            )


def _begin(words: list[str], folder: Path, scale: float) -> float:
    """Make the folder of the crops and note their scale, or refuse to go on with another.

    Returns:
        The micrometres a pixel.
    """
    origin, table = origin_path(str(folder / TABLE)), str(folder / TABLE)
    began = read_origin(origin, table) if os.path.exists(table) else {}
    scale = scale or float(began.get("microns_per_pixel", 0)) or read_beside(words)
    if not scale:
        scale = field_scale(path for path, error in find_paths(words) if not error)
    now = {"bloodkeras": bloodkeras.__version__, "microns_per_pixel": scale}
    if began:
        refuse_another(began, now, table)
        remove_temporary(folder)
        return scale
    make_folder(folder)
    write_text(folder / SCALE_FILE, f"{scale:g}")
    write_text(origin, json.dumps(now, indent=2))
    return scale


def _count(words: list[str]) -> int:
    return sum(1 for _ in find_paths(words))


# --- one field ------------------------------------------------------------------------------------


def _fields(words: list[str], done: set[str], passed: PassedOver) -> Iterator[Item]:
    """Yield the fields that are not done: a name, and uint8 (H, W, 3) or why there is none."""

    def reads() -> Iterator[Callable[[], list[Item]]]:
        for path, error in find_paths(words, passed):
            if error:
                yield error_part(path, error).read
            elif valid_text(path) not in done:
                yield partial(read_pages, path, lambda image: np.asarray(rgb(image)))

    for name, field in read_ahead(reads(), at_once=1):
        if valid_text(name) not in done:
            yield valid_text(name), field


def _looked_through(
    name: str, field: Pixels | str, scale: float, stems: Stems
) -> tuple[list[Box], dict[str, bytes]]:
    """Return a field's rows, and what is to be written: {name of the file: content}."""
    if isinstance(field, str):
        return [Box(name, error=one_line(field))], {}
    if reason := _no_field(field, scale):
        return [Box(name, error=reason)], {}
    stain = stained_at(field, scale)
    if not stain.pale:
        return [Box(name, error="blank: nothing in it is stained")], {}
    remark = ""
    if (width := outline_width(stain)) > BLURRED:
        remark = f"out of focus: outlines rise over {width:.2f} micrometres"
    stem, cells = stems.name(name), cells_of(stain, (field.shape[1], field.shape[0]))
    squares = [cut(cell, field.shape, scale) for cell in cells]
    rows, files = [], {}
    for number, (cell, square) in enumerate(zip(cells, squares, strict=True), 1):
        left, top, right, bottom = square
        crop = f"{stem}-{number}.png"
        files[crop] = _encoded(
            Image.fromarray(field[top:bottom, left:right]), "PNG", compress_level=3
        )
        box, edge = (cell.left, cell.top, cell.right, cell.bottom), "yes" if cell.at_edge else "no"
        rows.append(Box(name, crop, *box, edge, left, top, remark))
    files[f"{stem}.jpg"] = _encoded(draw(field, cells, squares), "JPEG", quality=88)
    return rows or [Box(name, remark=remark or EMPTY)], files


def _no_field(field: Pixels, scale: float) -> str:
    """Return why a picture is no field; "" where it may be one."""
    short, long = sorted(field.shape[:2])
    if short < LEAST_SIDE:
        return f"{short} pixels across are no field: expected {LEAST_SIDE} or more"
    across = short * scale
    if is_narrow((short, long), scale):
        return f"a single cell's photograph, {across:.0f} micrometres across: `predict` takes those"
    if across < LEAST_MICRONS:
        return f"{across:.1f} micrometres across are no field: is the scale right?"
    return ""


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _write(folder: Path, name: str, content: bytes) -> None:
    try:
        replace_file(folder / name, content)
    except OSError as error:
        raise BloodkerasError(f"cannot write {folder / name}: {error.strerror}") from None


# --- what is said ---------------------------------------------------------------------------------


def _tally(tally: Counter[str], rows: list[Box]) -> None:
    """Count rows of whole fields."""
    first = {row.field: row for row in rows}.values()
    tally["fields"] += sum(not row.error for row in first)
    tally["left out"] += sum(bool(row.error) for row in first)
    tally["blurred"] += sum(row.remark.startswith("out of focus") for row in first)
    tally["empty"] += sum(not row.crop and not row.error for row in first)
    tally["cells"] += sum(bool(row.crop) for row in rows)
    tally["at edge"] += sum(row.at_edge == "yes" for row in rows)


def _say(row: Box, tally: Counter[str]) -> None:
    """Say what is wrong with a field, if anything is; of many the first alone."""
    if not (said := row.error or row.remark):
        return
    tally["said"] += 1
    if tally["said"] <= SAID:
        LOG.warning(said if row.field in said else f"{row.field}: {said}")
    elif tally["said"] == SAID + 1:
        LOG.warning("and more, as the table says")
