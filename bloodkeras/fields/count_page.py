"""Makes one page of a differential: the numbers, every cell by class, the fields with their boxes.

Flow: takes the cells with their answers and the folders of crops and pictures; gives one file that
needs nothing else. A click on a cell names it; the numbers follow, and a table can be saved that
`calibrate` and `judge` take as labels.
"""

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from PIL import Image

from bloodkeras.answers.formats import one_line
from bloodkeras.answers.page_style import NO_DEVICE, head, percent, picture, scrolling
from bloodkeras.bloodmnist import NUCLEATED_RED
from bloodkeras.contract import ACCEPTED, FOREIGN, UNSURE
from bloodkeras.fields.count_script import SCRIPT, STYLE
from bloodkeras.fields.differential import (
    EDGE,
    FEW,
    NOTHING_NAMED,
    WHY,
    Named,
    describe_red,
    shares,
    white,
)
from bloodkeras.images.framing import Framing
from bloodkeras.images.preprocess import square

MOST_CELLS, MOST_FIELDS = 3000, 200  # that are shown: bounds the page
TILE, WIDTH = 112, 480  # pixels of a cell, and of a field's width
JPEG_QUALITY = 80
NEAREST = "<button data-nearest>I have looked: name all by their nearest class</button>"
TITLE = "Blood cells: differential"


def render(
    cells: Sequence[Named],
    labels: Sequence[str],
    model: str,
    framing: Framing,
    folders: tuple[Path, Path],
    edge: bool = False,
) -> Iterator[str]:
    """Yield the page in parts.

    Args:
        cells: In the order of the fields.
        labels: All classes of the network.
        model: Its name.
        framing: By which the network saw the crops.
        folders: Of the crops, and of the pictures of whole fields.
        edge: Cells that the field's edge cuts are counted.
    """
    crops, pictures = folders
    fields = [(name, list(own)) for name, own in groupby(cells, key=lambda cell: cell.field)]
    groups = Counter(cell.group(edge) for cell in cells)
    yield head(TITLE, STYLE, scripts=True)
    yield f"<header><h1>{len(cells):,} cells in {len(fields):,} fields, named by "
    yield f"<em>{escape(model)}</em></h1>\n{NO_DEVICE}</header>\n"
    yield numbers(groups, labels)
    yield "<p class=hint>Click a cell to name it; the numbers follow. The table holds every cell "
    yield "that has a class by then, for <code>judge</code> and <code>calibrate</code>: look all "
    yield "through before you save it. <button id=save>Save table</button> <b id=said></b></p>\n"
    shown = _shown(cells, edge)
    if len(shown) < len(cells):
        yield f"<p class=warn>{len(shown):,} are shown, the doubtful ones first; all count.</p>\n"
    for name in (UNSURE, FOREIGN, *labels, EDGE):
        own = [cell for cell in shown if cell.group(edge) == name]
        yield f'<section data-l="{escape(name)}"{"" if own else " hidden"}>'
        yield f"<h2>{escape(name.capitalize())} <small>{WHY.get(name, '')}</small>"
        yield f"{NEAREST if name in (UNSURE, FOREIGN) else ''}</h2>"
        yield "<div class=tiles>\n"
        yield from (_tile(cell, crops, framing, edge) for cell in own)
        yield "</div></section>\n"
    yield "<section class=fields><h2>Fields</h2>\n"
    if len(fields) > MOST_FIELDS:
        yield f"<p class=hint>The first {MOST_FIELDS:,} of {len(fields):,}; all lie in {pictures}."
    yield "<div class=wide-tiles>\n"
    yield from (_field(name, own, pictures) for name, own in fields[:MOST_FIELDS])
    unseen = groups - Counter(cell.group(edge) for cell in shown)
    told = {"labels": list(labels), "white": white(labels), "unseen": unseen, "few": FEW}
    told |= {"red": NUCLEATED_RED, "none": FOREIGN, "unnamed": NOTHING_NAMED}
    yield f"</div></section>\n{_chooser(labels)}"
    yield f"<script>const told = {json.dumps(told)};{SCRIPT}</script></body></html>\n"


def numbers(groups: Counter[str], labels: Sequence[str]) -> str:
    """Return the differential as a table; the page's script writes into the same cells."""
    rows = []
    for found in shares(groups, labels):
        numbers = f"{found.cells:,}", f"{found.share:.1%}", f"{found.low:.1%} to {found.high:.1%}"
        cells = "".join(f"<td class=n>{text}</td>" for text in numbers)
        rows.append(f'<tr data-l="{escape(found.label)}"><th scope=row>{found.label}</th>{cells}')
    total = sum(groups[kind] for kind in white(labels))
    heads = "".join(f"<th scope=col class=n>{name}" for name in ("cells", "share", "95 % interval"))
    body = "</tr>\n".join(rows)
    parts = [
        scrolling(
            f"<table><thead><tr><th scope=col>white cells{heads}</tr></thead>\n{body}"
            f"<tr><th scope=row><b>named</b></th><td class=n id=total>{total:,}</td>"
            "<td></td><td></td></tr></table>"
        )
    ]
    if NUCLEATED_RED in labels:
        said = describe_red(groups, labels)
        parts.append(f"<p>{NUCLEATED_RED.capitalize()}s: <span id=red>{said}</span></p>\n")
    hidden = "" if total < FEW else " hidden"
    parts.append(f"<p class=warn id=few{hidden}>Fewer than {FEW} cells tell little.</p>\n")
    return "".join(parts)


def _shown(cells: Sequence[Named], edge: bool) -> list[Named]:
    """Return the cells that are shown: the doubtful ones of each class first."""
    order = sorted(cells, key=lambda cell: (cell.verdict == ACCEPTED, cell.confidence))
    return order[:MOST_CELLS]


def _tile(cell: Named, crops: Path, framing: Framing, edge: bool) -> str:
    with Image.open(crops / cell.crop) as crop:
        image = crop.crop(square(crop, framing)).resize((TILE, TILE), Image.Resampling.LANCZOS)
    name, group = one_line(cell.crop), cell.group(edge)
    said = "nearest: " * (cell.verdict == FOREIGN) + cell.label
    sure = "" if cell.verdict == FOREIGN else f"<s>{percent(cell.confidence)}</s>"
    return (
        f'<figure tabindex=0 role=button data-v="{cell.verdict}" data-l="{escape(group)}" '
        f'data-near="{escape(cell.label)}" '
        f'data-file="{escape(name)}">{picture(_jpeg(image), f"{name}: {cell.verdict}, {said}")}'
        f"<figcaption><b>{said}{sure}</b><em hidden></em><span>{escape(name)}</span></figcaption>"
        "</figure>\n"
    )


def _field(name: str, cells: Sequence[Named], pictures: Path) -> str:
    stem = cells[0].crop.rpartition("-")[0]
    said = ", ".join(
        f'{place}&nbsp;<span data-of="{escape(one_line(cell.crop))}">'
        f"{escape(cell.label if cell.verdict == ACCEPTED else cell.verdict)}</span>"
        for place, cell in enumerate(cells, 1)
    )
    with Image.open(pictures / f"{stem}.jpg") as image:
        image.draft("RGB", (WIDTH, WIDTH))
        image.thumbnail((WIDTH, image.height))
        drawn = picture(_jpeg(image), f"{one_line(name)} with a square around each white cell")
    file = escape(one_line(os.path.basename(name)))
    return f"<figure>{drawn}<figcaption>{said}<i>{file}</i></figcaption></figure>\n"


def _chooser(labels: Sequence[str]) -> str:
    buttons = "".join(
        f'<button data-name="{escape(name)}">{escape(name)}</button>' for name in labels
    )
    return (
        f"<div id=chooser hidden><p><b id=which></b> is</p><div>{buttons}"
        f'<button data-name="{FOREIGN}">none of these</button>'
        "<button data-name=''>as it was</button></div></div>\n"
    )


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
