"""Makes one HTML page of text, tables and figures that needs no other file and no network.

Flow: takes Markdown or ready HTML, and figures' paths; gives HTML. The model card and the
report are such pages; the look is that of the page of answers.
"""

import html
import re
from collections.abc import Iterable
from pathlib import Path

from markdown_it import MarkdownIt

from bloodkeras.answers.page_style import head, picture, scrolling

END = "\n</body></html>"
STYLE = """
body { max-width: 1100px; } h1 { margin-bottom: 14px; } p, li { max-width: 75ch; }
thead:not(:has(th:not(:empty))) { display: none; }
code { background: var(--line); border-radius: 4px; padding: 1px 4px; font-size: 13px;
       overflow-wrap: anywhere; }
pre code { background: none; padding: 0; font-size: inherit; overflow-wrap: normal; }
blockquote { margin: 0 0 14px; color: var(--alarm); font-weight: 600; }
.figures { display: grid; gap: 14px;
           grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
.figures figure { background: #fff; padding: 8px; overflow-x: auto; }
.figures img { display: block; width: 100%; max-width: 820px; margin: 0 auto; }
@media (max-width: 640px) { .figures img { min-width: 560px; } }
@media print { .figures { grid-template-columns: 1fr 1fr; } }
"""


def render_document(title: str, body: str, style: str = "") -> str:
    """Return a whole page.

    Args:
        title: Plain text, for the browser's tab.
        body: HTML.
        style: CSS beside that of all such pages.
    """
    return f"{head(html.escape(title), STYLE + style)}{body}{END}"


def render_markdown(text: str) -> str:
    """Return Markdown as HTML; HTML inside it is shown, not obeyed."""
    page = str(MarkdownIt("js-default").render(text))
    return re.sub("<table>.*?</table>", lambda found: scrolling(found[0]), page, flags=re.DOTALL)


def render_preformatted(text: str) -> str:
    """Return text that keeps its columns."""
    return f"<pre>{html.escape(text)}</pre>\n"


def render_figures(paths: Iterable[Path]) -> str:
    """Return PNGs side by side; what one shows is said by its file's name."""
    shown = (picture(path.read_bytes(), path.stem.replace("_", " ")) for path in paths)
    figures = "\n".join(f"<figure>{image}</figure>" for image in shown)
    return f"<div class=figures>\n{figures}</div>\n"
