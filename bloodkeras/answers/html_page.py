"""Makes one HTML page of many answers: counts, and the most doubtful images of each class to see.

Flow: takes `Row`s; gives one file that needs nothing else, no network either. Foreign and unsure
images come first, then each class by doubt; a click on a class or a verdict leaves those alone.
"""

import base64
import heapq
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.copies import group_of
from bloodkeras.answers.formats import one_line
from bloodkeras.answers.page_style import SCRIPT, head
from bloodkeras.answers.table import Row
from bloodkeras.contract import FOREIGN, UNSURE, VERDICTS
from bloodkeras.errors import BloodkerasError

MAX_TILES = 200  # pictures of a group, the most doubtful ones: bounds memory and the page
MAX_ERRORS = 200
LONG_NAME = 16  # letters; with more the last word is cut short
HEAD = head("Blood cells: answers", scripts=True)


class Page:
    """A page that is being collected; of a million images it holds a few thousand."""

    def __init__(self, path: str, classifier: Classifier, resume: bool = False):
        """Note where the page will lie.

        Args:
            path: The file.
            classifier: Who answers.
            resume: Such a page that is there already may be written over.

        Raises:
            BloodkerasError: Nothing can be written there, or something is.
        """
        self.path = Path(path)
        self._partial = Path(f"{path}.part")
        self._labels = classifier.labels
        self._card = classifier.card
        self._groups: dict[str, list] = {g: [] for g in (FOREIGN, UNSURE, *classifier.labels)}
        self._errors: list[Row] = []
        self._order = count()  # of two equally doubtful images the first one counts as more so
        try:
            if self.path.is_dir():
                raise OSError(0, "it is a folder")
            if self.path.exists() and not (resume and _is_page(self.path)):
                raise BloodkerasError(f"{path} is there already: choose another name")
            self._partial.write_bytes(b"")
            self._partial.unlink()
        except OSError as error:
            raise BloodkerasError(f"cannot write {path}: {error.strerror}") from None

    def write(self, rows: Iterable[Row]) -> None:
        """Note the doubtful images among these rows."""
        for row in rows:
            if not row.label:
                self._errors += [row] * (len(self._errors) < MAX_ERRORS)
                continue
            group = self._groups[group_of(row)]
            doubt = row.foreign if row.verdict == FOREIGN else 1 - row.confidence
            if len(group) < MAX_TILES:
                heapq.heappush(group, self._entry(doubt, row))
            elif doubt > group[0][0]:
                heapq.heapreplace(group, self._entry(doubt, row))

    def _entry(self, doubt: float, row: Row) -> tuple:
        """Return what is compared in a heap, and the row with its own copy of the pixels."""
        return doubt, -next(self._order), row._replace(pixels=row.pixels.copy())

    def finish(self, tally: Counter, unseen: int = 0, prior: str = "") -> None:
        """Write the page.

        Args:
            tally: (label, verdict) -> how many; ("", "") counts the errors.
            unseen: How many of these were answered before this run, and cannot be shown.
            prior: The classes that could be the answer, in words; "" for all.

        Raises:
            BloodkerasError: It cannot be written.
        """
        try:
            with open(self._partial, "w", encoding="utf-8") as file:
                file.writelines(self._html(tally, unseen, prior))
            self._partial.replace(self.path)
        except OSError as error:
            self._partial.unlink(missing_ok=True)
            raise BloodkerasError(f"cannot write {self.path}: {error.strerror}") from None

    def _html(self, tally: Counter, unseen: int, prior: str) -> Iterator[str]:
        total, failed = tally.total(), tally["", ""]
        model = escape(str(self._card.get("model", "")))
        yield HEAD
        images = f"{total:,} image{'s' * (total != 1)}"
        yield f"<header><h1>{images}, classified by <em>{model}</em></h1>\n"
        if self._card.get("training_data", {}).get("synthetic"):
            yield "<p class=warn>Trained on drawn cells, not on photographs: means nothing.</p>\n"
        yield "<p>No medical device, not for diagnosis.</p>\n"
        if prior:
            yield f"<p>Possible answers, as was asked for: {escape(prior)}</p>\n"
        if unseen:
            yield (
                f"<p class=warn>The first {unseen:,} were answered before an interruption: "
                "they are counted here, but not shown.</p>\n"
            )
        yield "</header>\n"
        yield from _counts(self._labels, tally)
        if failed:
            yield from _error_list(self._errors, failed)
        yield "<main>\n"
        in_group = Counter()
        for (label, verdict), found in tally.items():
            in_group[group_of(Row("", label, verdict=verdict))] += found
        for group, heap in self._groups.items():
            yield from self._section(group, heap, in_group[group])
        yield f"</main>\n<script>{SCRIPT}</script>\n</body></html>\n"

    def _section(self, group: str, heap: list, in_group: int) -> Iterator[str]:
        if not heap:
            return
        kind = {
            FOREIGN: "unlike the training data: no such cell, or another laboratory's",
            UNSURE: "too close to call, or its frame is in doubt",
        }
        shown = f"the {len(heap):,} most doubtful of {in_group:,}"
        note = f"{in_group:,}" if len(heap) == in_group else shown
        yield f"<section><h2>{group.capitalize()} <small>{note}"
        yield f" &middot; {kind[group]}" if group in kind else ""
        yield "</small></h2>\n<div class=tiles>\n"
        for _, _, row in sorted(heap, key=lambda entry: entry[:2], reverse=True):
            yield self._tile(row)
        yield "</div></section>\n"

    def _tile(self, row: Row) -> str:
        first, second, third = sorted(range(len(row.probs)), key=row.probs.__getitem__)[:-4:-1]
        path, probs = escape(one_line(row.path)), row.probs
        hint = [f"{self._labels[k]} {probs[k]:.2%}" for k in (first, second, third)]
        _, _, file = row.path.rpartition("/" if "#" not in row.path else "#")
        name = escape(one_line(file))
        doubt = f"<em>{escape(row.error)}</em>" if row.error else ""
        return (
            f'<figure data-l="{first}" data-v="{row.verdict}" '
            f'title="{"&#10;".join((path, row.verdict, *hint))}">'
            f'<img src="{data_uri(row.pixels)}" alt="" loading=lazy><figcaption>'
            f"<b>{short_name(self._labels[first])}<s>{percent(probs[first])}</s></b>"
            f"<i>{short_name(self._labels[second])}<s>{percent(probs[second])}</s></i>"
            f"<span>{name}</span>{doubt}</figcaption></figure>\n"
        )


def _is_page(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(HEAD)) == HEAD.encode()


def _counts(labels: tuple[str, ...], tally: Counter) -> Iterator[str]:
    """Yield the table of counts, whose rows and headings are the filters."""
    most = max([1, *(sum(tally[label, v] for v in VERDICTS) for label in labels)])
    heads = "".join(
        f"<th><button data-v={v}><i class={v}></i>{v}"
        f"<b>{sum(tally[label, v] for label in labels):,}</b></button></th>"
        for v in VERDICTS
    )
    yield "<table><thead><tr><th><button data-all>show all</button></th><th></th>"
    yield f"{heads}<th>all<b>{sum(tally.values()) - tally['', '']:,}</b></th></tr></thead><tbody>\n"
    for index, label in enumerate(labels):
        found = [tally[label, verdict] for verdict in VERDICTS]
        bars = "".join(
            f'<i class={verdict} style="width:{100 * number / most:.2f}%"></i>'
            for verdict, number in zip(VERDICTS, found, strict=True)
        )
        cells = "".join(f"<td class=n>{number:,}</td>" for number in (*found, sum(found)))
        yield f"<tr data-l={index}><td><button>{escape(label)}</button></td>"
        yield f"<td class=bar>{bars}</td>{cells}</tr>\n"
    yield "</tbody></table>\n"


def _error_list(errors: list[Row], failed: int) -> Iterator[str]:
    yield f"<details><summary>{failed:,} could not be read</summary><ul>\n"
    for row in errors:
        path, error = escape(one_line(row.path)), escape(one_line(row.error))
        yield f"<li>{path}<br><small>{error}</small></li>\n"
    if failed > len(errors):
        yield f"<li>and {failed - len(errors):,} more: see the table</li>\n"
    yield "</ul></details>\n"


def short_name(label: str) -> str:
    """Return a class name as HTML that fits under a picture."""
    first, _, last = label.rpartition(" ")
    return escape(f"{first} {last[:4]}." if first and len(label) > LONG_NAME else label)


def percent(share: float) -> str:
    """Return a confidence as HTML, never as a round 100 %."""
    return f"{min(share, 0.999):.0%}" if share < 0.995 else "&gt;99%"


def data_uri(pixels: np.ndarray) -> str:
    """Return uint8 (S, S, 3) as a PNG inside an address, so that a page needs no other file."""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
