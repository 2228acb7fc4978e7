"""Makes one HTML page of text, tables and figures that needs no other file and no network.

Flow: takes Markdown or ready HTML, and figures' paths; gives HTML. The model card and the
report are such pages; the look is that of the page of answers.
"""

import base64
import html
from pathlib import Path

from markdown_it import MarkdownIt

from bloodkeras.answers.page_style import head

STYLE = """
body { max-width: 900px; }
h1 { margin-bottom: 14px; } p, li { max-width: 75ch; }
table { font-size: 14px; overflow-wrap: anywhere; }
th, td { text-align: left; padding: 5px 12px 5px 0; vertical-align: top; width: auto;
         font-weight: 400; border-top: 1px solid var(--line); }
td:last-child, th:last-child { width: auto; font-weight: 400; }
thead th, thead th:last-child { border: 0; font-weight: 600; }
code { background: #e9ecf0; border-radius: 4px; padding: 1px 4px; font-size: 13px; }
pre { white-space: pre-wrap; padding: 12px 14px; background: var(--card); font-size: 13px;
      border: 1px solid var(--line); border-radius: 10px; }
pre code { background: none; padding: 0; }
blockquote { margin: 0 0 14px; color: #b00020; font-weight: 600; }
figure { padding: 8px; border-top-width: 1px; border-top-color: var(--line); margin: 0 0 14px; }
figure img { aspect-ratio: auto; max-width: 100%; width: auto; image-rendering: auto; }
"""


def render_document(title: str, body: str) -> str:
    """Return a whole page.

    Args:
        title: Plain text, for the browser's tab.
        body: HTML.
    """
    return f"{head(html.escape(title), STYLE)}{body}\n</body></html>\n"


def render_markdown(text: str) -> str:
    """Return Markdown as HTML; HTML inside it is shown, not obeyed."""
    return str(MarkdownIt("js-default").render(text))


def render_preformatted(text: str) -> str:
    """Return text that keeps its columns."""
    return f"<pre>{html.escape(text)}</pre>\n"


def render_figure(path: Path) -> str:
    """Return a PNG as part of the page."""
    content = base64.b64encode(path.read_bytes()).decode()
    title = html.escape(path.stem.replace("_", " "))
    return f'<figure><img alt="{title}" src="data:image/png;base64,{content}"></figure>\n'
