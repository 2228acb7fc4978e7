"""Makes docstrings, which are written to be read in an editor, fit for a page: see mkdocs.yml."""

import re

import griffe

FILES = re.compile(r"(?:^\w+\.py .*\n?(?:^ {8,}.*\n?)*)+", re.MULTILINE)  # the map of a folder


class Docstrings(griffe.Extension):
    """Shows a folder's list of files line by line, and <name> as it is written."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = FILES.sub(_fenced, _escaped(obj.docstring.value))


def _fenced(found: re.Match) -> str:
    return f"```text\n{found[0].rstrip()}\n```\n"


def _escaped(text: str) -> str:
    """Keep what looks like a tag; in `code`, indented code and maps it is kept anyway."""
    kept = r"(`[^`\n]*`|^ {4}.*$|^\w+\.py .*$)"  # every second part of the split
    parts = re.split(kept, text, flags=re.MULTILINE)
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)
