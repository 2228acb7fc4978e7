"""Makes one HTML page of the cells that a network names wrongly, the surest mistakes first.

Flow: takes the numbers of `laboratory.judge`, cells and answers; gives HTML that needs no other
file and no network.
"""

from html import escape

import numpy as np

from bloodkeras.answers.classifier import Answers
from bloodkeras.answers.formats import one_line
from bloodkeras.answers.html_page import data_uri, percent, short_name
from bloodkeras.answers.page_style import head
from bloodkeras.laboratory.labelled import Labelled
from bloodkeras.named_types import Json

MAX_TILES = 60  # pictures a class


def render_mistakes(found: Json, text: str, cells: Labelled, answers: Answers) -> str:
    """Return the page.

    Args:
        found: What `laboratory.judge` returned.
        text: The numbers as text.
        cells: What was judged.
        answers: What the network said of them, with all classes open.
    """
    called, sure = answers.probs.argmax(1), answers.probs.max(1)
    wrong = np.flatnonzero(called != cells.labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    title = f"{len(wrong)} of {len(cells)} cells are called something else"
    parts = [head("Blood cells: mistakes", STYLE), f"<header><h1>{title}</h1>\n"]
    parts.append("<p>No medical device, not for diagnosis.</p></header>\n")
    parts.append(f"<p><b>{escape(found['sentence'])}</b></p>\n<pre>{escape(text)}</pre>\n")
    for k, name in enumerate(found["labels"]):
        rows = [row for row in wrong if cells.labels[row] == k]
        if rows:
            note = f"{len(rows)} wrong" + (
                f", the surest {MAX_TILES} shown" if len(rows) > MAX_TILES else ""
            )
            parts.append(f"<section><h2>{escape(name.capitalize())} <small>{note}</small></h2>\n")
            tiles = (_tile(int(row), found["labels"], cells, answers) for row in rows[:MAX_TILES])
            parts.append(f"<div class=tiles>{''.join(tiles)}</div></section>\n")
    return "".join(parts) + "</body></html>\n"


STYLE = """pre { padding: 12px 14px; background: var(--card); font-size: 11px; overflow-x: auto;
      border: 1px solid var(--line); border-radius: 10px; }
"""


def _tile(row: int, labels: list[str], cells: Labelled, answers: Answers) -> str:
    probs, verdict = answers.probs[row], answers.verdicts[row]
    name, true = escape(one_line(cells.files[row])), cells.labels[row]
    return (
        f'<figure data-v="{verdict}" title="{name}">'
        f'<img src="{data_uri(cells.images[row])}" alt="" loading=lazy>'
        f"<figcaption><b>{short_name(labels[probs.argmax()])}<s>{percent(probs.max())}</s></b>"
        f"<i>is {short_name(labels[true])}<s>{percent(probs[true])}</s></i>"
        f"<span>{verdict}, {name}</span></figcaption></figure>\n"
    )
