"""Makes one HTML page of many answers: counts, and the most doubtful images of each class to see.

Flow: takes `Row`s; gives one file that needs nothing else, no network either. Foreign and unsure
images come first, then each class by doubt; a click on a class or a verdict leaves those alone.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

from bloodkeras.answers.classifier import Classifier
from bloodkeras.answers.copies import group_of
from bloodkeras.answers.formats import one_line
from bloodkeras.answers.page_style import NO_DEVICE, answer_lines, head, picture
from bloodkeras.answers.table import Row
from bloodkeras.contract import ACCEPTED, FOREIGN, UNSURE
from bloodkeras.errors import BloodkerasError
from bloodkeras.whole_file import check_writable, whole_file

MAX_TILES = 200  # pictures of a group, the most doubtful ones: bounds memory and the page
MAX_ERRORS = 200
STYLE = """.counts { font-size: 15px; }
.counts th, .counts td { border: 0; padding: 2px 10px 2px 0; vertical-align: middle; }
.counts thead th { vertical-align: bottom; text-align: right; width: 110px; }
.counts thead th:first-child { width: 200px; text-align: left; }
.counts thead .wide { width: auto; } .counts th b { display: block; }
.counts td:last-child { font-weight: 600; }
.counts tbody tr { cursor: pointer; } .counts tbody tr:hover { background: var(--paper); }
.bar { white-space: nowrap; font-size: 0; }
.bar i { display: inline-block; height: 14px; }
i.accepted { background: var(--accepted); } i.unsure { background: var(--unsure); }
i.foreign { background: var(--foreign); }
button { font: inherit; color: inherit; background: none; border: 1px solid transparent;
         border-radius: 7px; padding: 2px 9px; cursor: pointer; text-align: left; }
button:hover, [data-all] { border-color: var(--line); }
.counts thead button { font-weight: 400; } .counts thead th + th button { padding: 2px 0; }
 th button b { text-align: right; }
th button i { display: inline-block; width: 10px; height: 10px; border-radius: 5px;
              margin-right: 6px; }
.on > th > button, button.on { background: var(--ink); color: var(--card); }
[hidden] { display: none !important; }
@media (max-width: 640px) {
  .counts thead th { width: auto !important; } button { padding: 2px 4px; } }
@media print { [data-all] { visibility: hidden; } }
"""
SCRIPT = """
let verdict = null, group = null;
const all = s => document.querySelectorAll(s);
function show() {
  for (const f of all('figure'))
    f.hidden = (verdict && f.dataset.v !== verdict) || (group && f.dataset.l !== group);
  for (const s of all('section')) s.hidden = !s.querySelector('figure:not([hidden])');
  for (const b of all('th [data-v]')) b.classList.toggle('on', b.dataset.v === verdict);
  for (const r of all('tbody tr')) r.classList.toggle('on', r.dataset.l === group);
}
for (const b of all('th [data-v]'))
  b.onclick = () => { verdict = verdict === b.dataset.v ? null : b.dataset.v; show(); };
for (const r of all('tbody tr'))
  r.onclick = () => { group = group === r.dataset.l ? null : r.dataset.l; show(); };
document.querySelector('[data-all]').onclick = () => { verdict = group = null; show(); };
"""
TITLE = "Blood cells: answers"


class Page:
    """A page that is being collected; of a million images it holds a few thousand."""

    def __init__(self, path: str, classifier: Classifier, resume: bool = False) -> None:
        """Note where the page will lie.

        Args:
            path: The file.
            classifier: Who answers.
            resume: Such a page that is there already may be written over.

        Raises:
            BloodkerasError: Nothing can be written there, or something is.
        """
        self.path = Path(path)
        self._labels = classifier.labels
        self._card = classifier.card
        self._groups: dict[str, list[Any]] = {g: [] for g in (FOREIGN, UNSURE, *classifier.labels)}
        self._errors: list[Row] = []
        self._order = count()  # of two equally doubtful images the first one counts as more so
        try:
            if self.path.is_dir():
                raise OSError(0, "it is a folder")
            if self.path.exists() and not (resume and _is_page(self.path)):
                raise BloodkerasError(f"{path} is there already: choose another name")
            check_writable(self.path.parent)
        except OSError as error:
            raise BloodkerasError(f"cannot write {path}: {error.strerror}") from None

    def write(self, rows: Iterable[Row]) -> None:
        """Note the doubtful images among these rows."""
        for row in rows:
            if not row.label:
                self._errors += [row] * (len(self._errors) < MAX_ERRORS)
                continue
            group = self._groups[group_of(row)]
            doubt = row.foreign if row.verdict == FOREIGN else 1 - (row.confidence or 0)
            assert row.pixels is not None  # it was answered
            # A heap of what is compared, and the row with its own copy of the pixels.
            entry = doubt, -next(self._order), row._replace(pixels=row.pixels.copy())
            push = heapq.heappush if len(group) < MAX_TILES else heapq.heappushpop
            push(group, entry)

    def finish(self, tally: Counter[tuple[str, str]], unseen: int = 0, prior: str = "") -> None:
        """Write the page.

        Args:
            tally: (label, verdict) -> how many; ("", "") counts the errors.
            unseen: How many of these were answered before this run, and cannot be shown.
            prior: The classes that could be the answer, in words; "" for all.

        Raises:
            BloodkerasError: It cannot be written.
        """
        with whole_file(self.path) as file:
            file.writelines(part.encode() for part in self._html(tally, unseen, prior))

    def _html(self, tally: Counter[tuple[str, str]], unseen: int, prior: str) -> Iterator[str]:
        total, failed = tally.total(), tally["", ""]
        model = escape(str(self._card.get("model", "")))
        yield head(TITLE, STYLE, scripts=True)
        images = f"{total:,} image{'s' * (total != 1)}"
        yield f"<header><h1>{images}, classified by <em>{model}</em></h1>\n"
        if self._card.get("training_data", {}).get("synthetic"):
            yield "<p class=warn>Trained on drawn cells, not on photographs: means nothing.</p>\n"
        yield NO_DEVICE
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
        in_group: Counter[str] = Counter()
        for (label, verdict), found in tally.items():
            in_group[group_of(Row("", label, verdict=verdict))] += found
        for group, heap in self._groups.items():
            yield from self._section(group, heap, in_group[group])
        yield f"</main>\n<script>{SCRIPT}</script>\n</body></html>\n"

    def _section(self, group: str, heap: list[Any], in_group: int) -> Iterator[str]:
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
        assert row.pixels is not None
        order = sorted(range(len(row.probs)), key=row.probs.__getitem__, reverse=True)
        ranked = [(self._labels[k], row.probs[k]) for k in order]
        _, _, file = row.path.rpartition("/" if "#" not in row.path else "#")
        name, path = one_line(file), one_line(row.path)
        nearest = "nearest " if row.verdict == FOREIGN else ""
        said = f"{row.verdict}, {nearest}{row.label}"
        hint = [path, said] + [f"{label} {share:.2%}" for label, share in ranked[:3]] * (
            not nearest
        )
        doubt = f"<em>{escape(row.error)}</em>" if row.error else ""
        return (
            f'<figure data-l="{escape(FOREIGN if nearest else row.label)}" data-v="{row.verdict}" '
            f'title="{"&#10;".join(map(escape, hint))}">'
            f"{picture(row.pixels, f'{name}: {said}')}<figcaption>"
            f"{answer_lines(row.verdict, ranked[:2])}"
            f"<span>{escape(name)}</span>{doubt}</figcaption></figure>\n"
        )


def _is_page(path: Path) -> bool:
    """Return whether a file is such a page, of whatever version."""
    with open(path, "rb") as file:
        return f"<title>{TITLE}</title>".encode() in file.read(1000)


def _counts(labels: tuple[str, ...], tally: Counter[tuple[str, str]]) -> Iterator[str]:
    """Yield the table of counts, whose rows and headings are the filters.

    A foreign image is counted in a row of its own, not under the class that is nearest to it.
    """
    named = (ACCEPTED, UNSURE)
    rows = [(label, label, [tally[label, verdict] for verdict in named]) for label in labels]
    foreign = sum(tally[label, FOREIGN] for label in labels)
    most = max(1, foreign, *(sum(found) for *_, found in rows))
    heads = "".join(
        f"<th scope=col><button data-v={verdict}><i class={verdict}></i>{verdict}"
        f"<b>{sum(found[k] for *_, found in rows):,}</b></button></th>"
        for k, verdict in enumerate(named)
    )
    total = foreign + sum(sum(found) for *_, found in rows)
    yield "<div class=scroll><table class=counts><thead><tr>"
    yield "<th scope=col><button data-all>show all</button></th><th class=wide></th>"
    yield f"{heads}<th scope=col>all<b>{total:,}</b></th></tr></thead><tbody>\n"
    for group, name, found in rows:
        bars = "".join(_bar(*part, most) for part in zip(named, found, strict=True))
        cells = "".join(f"<td class=n>{number:,}</td>" for number in (*found, sum(found)))
        yield _count_row(group, name, bars, cells)
    cells = f"<td class=n></td><td class=n></td><td class=n>{foreign:,}</td>"
    yield _count_row(FOREIGN, FOREIGN, _bar(FOREIGN, foreign, most), cells)
    yield "</tbody></table></div>\n"


def _count_row(group: str, name: str, bars: str, cells: str) -> str:
    start = f'<tr data-l="{escape(group)}"><th scope=row><button>{escape(name)}</button></th>'
    return f'{start}<td class="bar wide">{bars}</td>{cells}</tr>\n'


def _bar(verdict: str, number: int, most: int) -> str:
    return f'<i class={verdict} style="width:{100 * number / most:.2f}%"></i>'


def _error_list(errors: list[Row], failed: int) -> Iterator[str]:
    yield f"<details><summary>{failed:,} could not be read</summary><ul>\n"
    for row in errors:
        path, error = escape(one_line(row.path)), escape(one_line(row.error))
        yield f"<li>{path}<br><small>{error}</small></li>\n"
    if failed > len(errors):
        yield f"<li>and {failed - len(errors):,} more: see the table</li>\n"
    yield "</ul></details>\n"
