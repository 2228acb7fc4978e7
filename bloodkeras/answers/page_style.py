"""The look that every page shares, and the pieces that pages are made of.

Flow: takes pixels, tables and answers; gives HTML that needs no other file and no network.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image

from bloodkeras.contract import FOREIGN, UNSURE

LONG_NAME = 16  # letters; with more the last word is cut short
NO_DEVICE = "<p>Not a medical device, not for diagnosis.</p>\n"


def head(title: str, style: str = "", scripts: bool = False, served: bool = False) -> str:
    """Return the start of a page, up to its body.

    Args:
        title: HTML, of the browser's tab.
        style: CSS beside the shared one.
        scripts: Whether the page may run any.
        served: Whether a server of this machine sent it, which its scripts may ask for more.
    """
    # The policy forbids a page any other network, whatever a file name may have smuggled in.
    allowed = "; script-src 'unsafe-inline'" if scripts else ""
    allowed += "; connect-src 'self'" if served else ""
    images = "data: 'self'" if served else "data:"
    icon = '\n<link rel="icon" href="data:,">' if served else ""  # else browsers ask for one
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src {images};
 style-src 'unsafe-inline'{allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>{icon}
<style>
{PALETTE}{STYLE}{style}{PRINT}</style></head><body>
"""


def picture(image: bytes | np.ndarray, described: str) -> str:
    """Return an image as part of a page.

    Args:
        image: A PNG or JPEG, or uint8 (H, W, 3).
        described: What it shows, as plain text, for those who do not see it.
    """
    if not isinstance(image, bytes):
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        image = png.getvalue()
    kind = "jpeg" if image.startswith(b"\xff\xd8") else "png"
    content = base64.b64encode(image).decode()
    return f'<img src="data:image/{kind};base64,{content}" alt="{escape(described)}">'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain text, which scrolls sideways where the screen is narrow.

    Args:
        heads: Of the columns; the first column names the rows, the others hold numbers.
        rows: As many cells as heads each.
    """
    first, *others = map(escape, heads)
    above = f"<th scope=col>{first}</th>"
    above += "".join(f"<th scope=col class=n>{cell}</th>" for cell in others)
    body = "".join(
        f"<tr><th scope=row>{escape(name)}</th>"
        + "".join(f"<td class=n>{escape(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for name, *cells in rows
    )
    return scrolling(f"<table><thead><tr>{above}</tr></thead>\n<tbody>\n{body}</tbody></table>")


def scrolling(html: str) -> str:
    """Return a table that scrolls sideways where the screen is narrow."""
    return f"<div class=scroll>{html}</div>\n"


def answer_lines(verdict: str, ranked: Sequence[tuple[str, float]]) -> str:
    """Return what a network says of an image, the verdict first, as lines of a caption.

    A foreign image is called nothing: the nearest class is a hint, without a number.

    Args:
        verdict: One of VERDICTS.
        ranked: Class and probability, the most probable first; what else is to be said behind it.
    """
    if verdict == FOREIGN:
        return f"<b>{FOREIGN}</b><i>nearest: {short_name(ranked[0][0])}</i>"
    lines = [f"{short_name(label)}<s>{percent(share)}</s>" for label, share in ranked]
    if verdict == UNSURE:
        return f"<b>{UNSURE}</b>" + "".join(f"<i>{line}</i>" for line in lines)
    return f"<b>{lines[0]}</b>" + "".join(f"<i>{line}</i>" for line in lines[1:])


def short_name(label: str) -> str:
    """Return a class name as HTML that fits under a picture."""
    first, _, last = label.rpartition(" ")
    return escape(f"{first} {last[:4]}." if first and len(label) > LONG_NAME else label)


def percent(share: float) -> str:
    """Return a confidence as HTML, never as a round 100 %."""
    return f"{min(share, 0.999):.0%}" if share < 0.995 else "&gt;99%"


LIGHT = """--ink: #22262b; --soft: #626b75; --line: #dfe3e8; --paper: #f5f6f8; --card: #fff;
  --alarm: #8a2b2b; --accepted: #3b8266; --unsure: #a06a00; --foreign: #b4447a; --bar: #4a78b0;
  color-scheme: light;"""
DARK = """--ink: #e4e8ec; --soft: #a0a9b3; --line: #3a414a; --paper: #15181c; --card: #1f2328;
  --alarm: #f0a0a0; --accepted: #5fae8d; --unsure: #d9a441; --foreign: #dd7fab; --bar: #7ba5d8;
  color-scheme: dark;"""
PALETTE = f""":root {{ {LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {DARK} }} }}
"""

STYLE = """* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px; color: var(--ink);
       background: var(--paper); font: 15px/1.45 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 26px; line-height: 1.25; margin: 0; font-weight: 650; }
h1 em { font-style: normal; color: var(--accepted); }
h2 { font-size: 19px; margin: 26px 0 10px; } h2 small { font-weight: 400; color: var(--soft); }
header p { margin: 4px 0; color: var(--soft); }
.warn, header .warn { color: var(--alarm); font-weight: 600; }
.hint { color: var(--soft); }
.scroll { overflow-x: auto; margin: 18px 0; padding: 8px 14px; background: var(--card);
          border: 1px solid var(--line); border-radius: 10px; }
table { width: 100%; border-spacing: 0; font-size: 14px; overflow-wrap: normal; }
th, td { text-align: left; padding: 4px 14px 4px 0; vertical-align: top; font-weight: 400;
         border-top: 1px solid var(--line); }
thead th { border: 0; font-weight: 600; vertical-align: bottom; }
tr > :last-child { padding-right: 0; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { overflow-x: auto; padding: 12px 14px; background: var(--card); font-size: 12px;
      border: 1px solid var(--line); border-radius: 10px; overflow-wrap: normal; }
details { margin: 0 0 18px; padding: 10px 14px; background: var(--card); border-radius: 10px;
          border: 1px solid var(--alarm); }
summary { cursor: pointer; font-weight: 600; color: var(--alarm); }
.tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); overflow: hidden;
         border-radius: 8px; }
.tiles figure { border-top: 4px solid var(--accepted); }
.tiles figure[data-v=unsure] { border-top-color: var(--unsure); }
.tiles figure[data-v=foreign] { border-top-color: var(--foreign); }
.tiles img { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; }
figcaption { padding: 5px 8px 7px; font-size: 13px; line-height: 1.35; }
figcaption > * { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
figcaption b, figcaption i { display: flex; flex-wrap: wrap; justify-content: space-between;
                             gap: 0 4px; white-space: normal; }
figcaption s { text-decoration: none; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure[data-v=unsure] b { color: var(--unsure); }
figure[data-v=foreign] b { color: var(--foreign); }
figcaption i { font-style: normal; color: var(--soft); }
figcaption span { color: var(--soft); font-size: 12px; }
figcaption em { font-size: 12px; white-space: normal; }
@media (max-width: 640px) {
  body { padding: 14px; } h1 { font-size: 22px; } .scroll { padding: 6px 10px; }
  .tiles { grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 8px; }
  .wide { display: none; } }
"""

PRINT = """@page { margin: 14mm; }
@media print {
  body { max-width: none; padding: 0; background: #fff; font-size: 10pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr { break-inside: avoid; } h1, h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } table { font-size: 9pt; }
  pre { font-size: 6.5pt; white-space: pre-wrap; }
  .tiles { grid-template-columns: repeat(5, 1fr); } .tiles figcaption * { font-size: 7pt; } }
"""
