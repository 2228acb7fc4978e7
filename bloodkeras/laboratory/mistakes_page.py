"""Makes one HTML page of the cells that a network names wrongly, the surest mistakes first.

Flow: takes the numbers of `laboratory.judge`, cells and answers; gives HTML that needs no other
file and no network.
"""

from html import escape

import numpy as np

from bloodkeras.answers.answer import Answers
from bloodkeras.answers.formats import one_line
from bloodkeras.answers.page_style import NO_DEVICE, answer_lines, head, picture, short_name
from bloodkeras.contract import FOREIGN
from bloodkeras.laboratory.labelled import Labelled
from bloodkeras.named_types import Json

MAX_TILES = 60  # pictures a section


def render_mistakes(found: Json, text: str, cells: Labelled, answers: Answers) -> str:
    """Return the page: what is named wrongly by class, then what is foreign, so called nothing.

    Args:
        found: What `laboratory.judge` returned.
        text: The numbers as text.
        cells: What was judged.
        answers: What the network said of them, with all classes open.
    """
    labels, surest_first = found["labels"], np.argsort(-answers.probs.max(1), kind="stable")
    foreign = answers.verdicts[surest_first] == FOREIGN
    named, refused = surest_first[~foreign], surest_first[foreign]
    wrong = named[answers.probs[named].argmax(1) != cells.labels[named]]
    parts = [head("Blood cells: mistakes"), "<header>"]
    parts.append(f"<h1>{len(wrong):,} of {len(cells):,} cells are named wrongly</h1>\n")
    if len(refused):
        parts.append(f"<p>{len(refused):,} more are foreign: they are called nothing.</p>\n")
    parts.append(f"{NO_DEVICE}</header>\n<p><b>{escape(found['sentence'])}</b></p>\n")
    parts.append(f"<pre>{escape(text)}</pre>\n")
    sections = {name: wrong[cells.labels[wrong] == k] for k, name in enumerate(labels)}
    for name, rows in [*sections.items(), (FOREIGN, refused)]:
        if len(rows):
            count = f"{len(rows):,} {'wrong' if name != FOREIGN else 'in all'}"
            note = count + f", the surest {MAX_TILES} shown" * (len(rows) > MAX_TILES)
            parts.append(f"<section><h2>{escape(name.capitalize())} <small>{note}</small></h2>\n")
            tiles = "".join(_tile(int(row), labels, cells, answers) for row in rows[:MAX_TILES])
            parts.append(f"<div class=tiles>\n{tiles}</div></section>\n")
    return "".join(parts) + "</body></html>\n"


def _tile(row: int, labels: list[str], cells: Labelled, answers: Answers) -> str:
    probs, verdict = answers.probs[row], str(answers.verdicts[row])
    name, called, true = one_line(cells.files[row]), labels[probs.argmax()], cells.labels[row]
    said = f"{name}: {verdict}, {'nearest ' * (verdict == FOREIGN)}{called}, is {labels[true]}"
    return (
        f'<figure data-v="{verdict}" title="{escape(name)}">{picture(cells.images[row], said)}'
        f"<figcaption>{answer_lines(verdict, [(called, probs.max())])}"
        f"<i>is {short_name(labels[true])}</i>"
        f"<span>{escape(name)}</span></figcaption></figure>\n"
    )
