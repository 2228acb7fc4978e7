"""Draws what is known of one photograph as HTML.

Flow: takes an `Explained`; gives a piece of a page that needs nothing else.
"""

from html import escape

import numpy as np
from PIL import Image

from bloodkeras.answers.page_style import LIGHT, picture
from bloodkeras.contract import FOREIGN
from bloodkeras.demo.explain import MEANING, NEAREST, Explained
from bloodkeras.named_types import Floats, Pixels

NEAR = 0.01  # probability of a class that is named as a confusion
SIDE = 224  # pixels of a picture on the page: eight a pixel
GLOW = (255, 40, 90)  # colour of what the network looked at
STRONGEST = 0.65  # how much of it hides the cell at most

# Always light: Gradio takes no rule that asks for a dark page.
STYLE = (
    f".tile {{ {LIGHT} }}"
    """
.tile { display: flex; flex-wrap: wrap; gap: 18px; padding: 16px; margin-bottom: 14px;
        border: 1px solid var(--line); border-radius: 10px; background: var(--card);
        color: var(--ink); break-inside: avoid; }
#examples img { image-rendering: pixelated; }
.tile figure { margin: 0; width: 200px; } .tile figcaption { font-size: 13px; color: var(--soft); }
.tile img { width: 100%; height: auto; image-rendering: pixelated; border-radius: 6px; }
.tile .says { flex: 1; min-width: min(270px, 100%); }
.tile h3 { margin: 2px 0; font-size: 22px; color: var(--ink); }
.tile p { margin: 3px 0; } .tile p, .tile span, .tile b { color: var(--ink); }
.tile .file { font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
.tile .verdict { display: inline-block; padding: 1px 9px; border-radius: 9px; font-weight: 600;
                 color: var(--card); }
.tile .accepted { background: var(--accepted); } .tile .unsure { background: var(--unsure); }
.tile .foreign { background: var(--foreign); }
.tile .probs { display: grid; grid-template-columns: minmax(90px, 160px) 1fr 62px; gap: 2px 8px;
               margin: 8px 0; font-size: 14px; }
.tile .probs i { display: block; height: 12px; margin-top: 4px; background: var(--bar);
                 border-radius: 2px; }
.tile .probs b { text-align: right; font-weight: 400; font-variant-numeric: tabular-nums; }
.tile .hint, .tile .hint span, .tile .hint b { color: var(--soft); font-weight: 400; }
.tile h3.hint { font-size: 16px; }
.tile .hint i { background: var(--soft); }
.tile.error { color: var(--alarm); border-color: var(--alarm); }
"""
)


def tile(found: Explained) -> str:
    """Return the HTML of one photograph: the verdict first, and then the class, or a hint at it."""
    name, label = escape(found.name), escape(found.label)
    if found.error:
        return f'<div class="tile error">{escape(found.error)}</div>'
    foreign = found.verdict == FOREIGN
    pixels, looked = found.pixels, found.looked
    assert pixels is not None  # it was answered
    assert looked is not None
    bars = "".join(
        f'<span>{escape(label)}</span><span><i style="width:{100 * prob:.1f}%"></i></span>'
        f"<b>{prob:.1%}</b>"
        for label, prob in found.probs
    )
    meaning = escape(found.reason) or MEANING[found.verdict]
    called = f"<h3 class=hint>Nearest class: {label}</h3>" if foreign else f"<h3>{label}</h3>"
    sees, spoke = "What the network sees", f"What spoke for {found.label}"
    return f"""<div class="tile">
{_figure(_enlarged(pixels), f"{sees} of {found.name}", sees)}
{_figure(_glowing(pixels, looked), f"{spoke} in {found.name}", spoke)}
<div class="says">
<p><span class="verdict {found.verdict}">{found.verdict}</span> {meaning}</p>
{called}
<div class="probs{" hint" * foreign}">{bars}</div>
{"" if foreign else _trust(found)}
<p class="file">{name}</p></div></div>"""


def _trust(found: Explained) -> str:
    """Return what could be meant instead of the label, and how often that is right."""
    near = [(label, prob) for label, prob in found.probs[1 : NEAREST + 1] if prob >= NEAR]
    nearest = ", ".join(f"{label} ({prob:.1%})" for label, prob in near)
    said = f"Nearest to it: {nearest}" if near else "No other class comes near"
    return f"<p>{escape(said)}.</p>\n<p>{escape(found.trust)}</p>"


def _figure(image: Image.Image, described: str, caption: str) -> str:
    shown = picture(np.asarray(image), described)
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"


def _enlarged(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _glowing(pixels: Pixels, looked: Floats) -> Image.Image:
    """Return the enlarged image under a glow that is strongest where the network looked most."""
    places = Image.fromarray(looked.astype(np.float32))
    strength = np.asarray(places.resize((SIDE, SIDE), Image.Resampling.BILINEAR))[..., None]
    strength = STRONGEST * strength
    grey = np.asarray(_enlarged(pixels).convert("L").convert("RGB"))
    mixed = (1 - strength) * grey + strength * np.array(GLOW)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
