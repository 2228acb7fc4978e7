"""Draws what is known of one photograph as HTML.

Flow: takes an `Explained`; gives a piece of a page that needs nothing else.
"""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from bloodkeras.demo.explain import MEANING, NEAREST, Explained
from bloodkeras.named_types import Floats, Pixels

NEAR = 0.01  # probability of a class that is named as a confusion
SIDE = 224  # pixels of a picture on the page: eight a pixel
GLOW = (255, 40, 90)  # colour of what the network looked at
STRONGEST = 0.65  # how much of it hides the cell at most

STYLE = """
.tile { display: flex; flex-wrap: wrap; gap: 18px; padding: 16px; margin-bottom: 14px;
        border: 1px solid #dfe3e8; border-radius: 10px; background: #fff; color: #22262b; }
#examples img { image-rendering: pixelated; }
.tile figure { margin: 0; width: 200px; } .tile figcaption { font-size: 13px; color: #68717c; }
.tile img { width: 100%; height: auto; image-rendering: pixelated; border-radius: 6px; }
.tile .says { flex: 1; min-width: 270px; }
.tile h3 { margin: 0 0 2px; font-size: 22px; color: #22262b; }
.tile p { margin: 3px 0; color: #22262b; }
.tile .file { font-size: 13px; color: #68717c; overflow-wrap: anywhere; }
.tile .verdict { display: inline-block; padding: 1px 9px; border-radius: 9px; color: #fff;
                 font-weight: 600; }
.tile .accepted { background: #3b8266; } .tile .unsure { background: #a06a00; }
.tile .foreign { background: #b4447a; }
.tile .probs { display: grid; grid-template-columns: 160px 1fr 62px; gap: 2px 8px;
               margin: 8px 0; font-size: 14px; }
.tile .probs i { display: block; height: 12px; margin-top: 4px; background: #4a78b0;
                 border-radius: 2px; }
.tile .probs b { text-align: right; font-weight: 400; font-variant-numeric: tabular-nums; }
.tile.error { background: #fdf1f1; color: #8a2b2b; }
"""


def tile(found: Explained) -> str:
    """Return the HTML of one photograph."""
    name = escape(found.name)
    if found.error:
        return f'<div class="tile error">{escape(found.error)}</div>'
    pixels, looked = found.pixels, found.looked
    assert pixels is not None  # it was answered
    assert looked is not None
    spoke = f"spoke for {found.label}"
    bars = "".join(
        f'<span>{escape(label)}</span><span><i style="width:{100 * prob:.1f}%"></i></span>'
        f"<b>{prob:.1%}</b>"
        for label, prob in found.probs
    )
    meaning = escape(found.reason) or MEANING[found.verdict]
    near = [(label, prob) for label, prob in found.probs[1 : NEAREST + 1] if prob >= NEAR]
    nearest = ", ".join(f"{label} ({prob:.1%})" for label, prob in near)
    return f"""<div class="tile">
{_figure(_enlarged(pixels), f"what the network sees of {name}", "What the network sees")}
{_figure(_glowing(pixels, looked), f"what {spoke}", f"What {spoke}")}
<div class="says"><h3>{escape(found.label)}</h3>
<p><span class="verdict {found.verdict}">{found.verdict}</span> {meaning}</p>
<div class="probs">{bars}</div>
<p>{f"Nearest to it: {escape(nearest)}" if near else "No other class comes near"}.</p>
<p>{escape(found.trust)}</p>
<p class="file">{name}</p></div></div>"""


def _figure(image: Image.Image, described: str, caption: str) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(described)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


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
