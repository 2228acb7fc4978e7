"""Writes the page on which a person names cells: by keyboard, by mouse, or with a thumb.

Flow: takes the classes and a token; gives HTML that asks its own server alone. What the server says
is put in as text, never as HTML.
"""

import json
from html import escape
from importlib.resources import files

from bloodkeras.answers.page_style import NO_DEVICE, head
from bloodkeras.laboratory.labels import NOT_A_CELL, UNKNOWN

KEYS = 9  # classes that have one: 1 to 9
# What is no class: key, label, what the button says.
OTHERS = (("0", NOT_A_CELL, "not a cell"), ("s", UNKNOWN, "skip: cannot tell"))
STYLE = """
main { display: grid; grid-template-columns: minmax(0, 1fr) minmax(330px, 420px); gap: 22px;
       margin-top: 16px; align-items: start; }
#shown { position: relative; } #photo { display: block; width: 100%; aspect-ratio: 1;
       max-height: 74vh; object-fit: contain; background: var(--line); }
#name { display: block; padding: 6px 10px; color: var(--soft); font-size: 13px;
        overflow-wrap: anywhere; }
.heads, .classes button { display: grid; align-items: center; gap: 2px 10px;
        grid-template-columns: 26px minmax(0, 1fr) 60px 60px; }
.heads { padding: 0 10px; color: var(--soft); font-size: 12px; } .heads span { text-align: right; }
.heads span:nth-child(2) { text-align: left; }
button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
         border-radius: 8px; padding: 7px 10px; cursor: pointer; text-align: left; }
.classes button { width: 100%; margin-top: 5px; }
button:hover:enabled { border-color: var(--ink); }
button:focus-visible { outline: 2px solid var(--bar); outline-offset: 1px; }
button:disabled { opacity: .5; cursor: default; }
kbd { font: 600 12px/1 system-ui, sans-serif; border: 1px solid var(--line); border-radius: 4px;
      padding: 3px 6px; background: var(--paper); text-align: center; }
.classes i { font-style: normal; text-align: right; font-variant-numeric: tabular-nums; }
.classes .count { font-weight: 600; } .classes .none { color: var(--alarm); }
.classes u { grid-column: 2 / 4; height: 5px; text-decoration: none; border-radius: 3px;
             background: linear-gradient(var(--bar), var(--bar)) no-repeat 0 / var(--share, 0%); }
.other { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 12px; }
.other button { flex: 1 1 auto; } .other i { font-style: normal; color: var(--soft); }
.blind .believed { visibility: hidden; }
#verdict { margin: 0 0 8px; min-height: 1.45em; }
#status { min-height: 2.9em; margin: 12px 0 0; color: var(--soft); overflow-wrap: anywhere; }
#status.wrong { color: var(--alarm); }
#text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
#errors:empty, #made[hidden] { display: none; }
@media (max-width: 760px) {
  main { grid-template-columns: minmax(0, 1fr); gap: 8px; margin-top: 8px; }
  h1 { font-size: 18px; } header p { font-size: 13px; margin: 2px 0; }
  #photo { max-height: 36vh; } #name { padding: 3px 10px; } #verdict { margin: 0 0 4px; }
  kbd, .heads { display: none; }
  .classes { display: grid; gap: 5px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .classes button { margin: 0; padding: 7px 9px; gap: 0 8px; font-size: 14px; line-height: 1.25;
                    grid-template-columns: minmax(0, 1fr) auto; }
  .classes button > span { display: none; }
  .classes b, .classes u { grid-column: 1; } .classes i { grid-column: 2; }
  .classes .count { grid-row: 1; } .classes i.believed { grid-row: 2; font-size: 12px; }
  .classes u { grid-row: 2; } .other { margin-top: 8px; } .other button { padding: 7px 9px; }
  #status { margin-top: 8px; } }
"""


def render(
    classes: tuple[str, ...], model: str, photos: str, table: str, token: str, random: bool
) -> str:
    """Return the page.

    Args:
        classes: Names that may be said, in the order of the keys.
        model: What the network is called.
        photos: The folder of photographs, as the user named it.
        table: Where the answers go, as the user named it.
        token: What the page has to say to be heard.
        random: Whether it is asked in a random order.
    """
    buttons = "".join(_button(place, name) for place, name in enumerate(classes))
    others = "".join(
        f'<button data-label="{label}" data-key="{key}"><kbd>{key}</kbd> {said} '
        "<i class=count></i></button>\n"
        for key, label, said in OTHERS
    )
    script = files("bloodkeras.labelling").joinpath("page.js").read_text(encoding="utf-8")
    known = f"const token = {_quoted(token)}, model = {_quoted(model)}, "
    known += f"random = {json.dumps(random)};"
    return f"""{head("Blood cells: label", STYLE, scripts=True, served=True)}
<header><h1>Which cell is it?</h1>
{NO_DEVICE}<p>{escape(photos)}: <span id=left></span>. Every answer is in {escape(table)} at
once.</p>
</header>
<main>
<figure id=shown><img id=photo alt="the photograph to be named"><span id=name></span></figure>
<div>
<p id=verdict class=believed></p>
<div class=heads><span></span><span></span><span class=believed>believed</span><span>labelled</span>
</div>
<div class=classes>
{buttons}</div>
<div class=other>
{others}<button id=undo data-key=u><kbd>u</kbd> undo</button>
<button id=blind data-key=b><kbd>b</kbd> <span>hide what is believed</span></button>
</div>
<p id=status role=status></p>
<p id=errors class=warn></p>
</div>
</main>
<section><h2>Calibrate now</h2>
<p class=hint>Makes a new export of {escape(model)} on what you have labelled so far, and says in
how many cells it is right that it had not seen. You can go on labelling afterwards.</p>
<p><button id=calibrate>calibrate now</button> <span id=enough class=hint></span></p>
<div id=made hidden><p id=result></p><pre id=text></pre></div>
</section>
<script>{known}
{script}</script></body></html>
"""


def _button(place: int, name: str) -> str:
    key = str(place + 1) if place < KEYS else ""
    shown = f"<kbd>{key}</kbd>" if key else "<span></span>"
    return (
        f'<button data-label="{escape(name)}" data-key="{key}">{shown}<b>{escape(name)}</b>'
        "<i class=believed></i><i class=count></i><u class=believed></u></button>\n"
    )


def _quoted(text: str) -> str:
    """Return a text as a script takes it, which cannot end the script either."""
    return json.dumps(text).replace("<", "\\u003c")
