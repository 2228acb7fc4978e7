"""Reads all the photographs that one image file holds: one, or the pages of a TIFF or animation.

Flow: takes a path; gives (name, uint8 (S, S, 3) or an error) a page, and never raises: one bad
file must not stop the others. Every page goes the way of a file's only picture, `decode.opened`;
of several each is named file#page, counted from 0 as Pillow does.
"""

from bloodkeras.errors import BloodkerasError
from bloodkeras.images.arrays import Item
from bloodkeras.images.decode import MAX_PAGES, Pictures, opened
from bloodkeras.images.framing import UNKNOWN, Framing
from bloodkeras.images.preprocess import medmnist_pixels
from bloodkeras.images.refusal import refusals, shown


def read_file(path: str, framing: Framing = UNKNOWN) -> list[Item]:
    """Return the photograph in a file, or all its pages up to `decode.MAX_PAGES`."""
    try:
        with refusals(path), opened(path) as pictures:
            items = [_read_page(pictures, path, page, framing) for page in pictures.pages]
            return items + [(path, reason) for reason in _missing(pictures, path)]
    except BloodkerasError as error:
        return [(path, str(error))]


def count_pages(path: str) -> int:
    """Return how many items `read_file` gives, from the headers alone."""
    try:
        with refusals(path), opened(path, check=False) as pictures:
            return len(pictures.pages) + len(_missing(pictures, path))
    except BloodkerasError:  # read_file answers this one with an error
        return 1


def _read_page(pictures: Pictures, path: str, page: int, framing: Framing) -> Item:
    name = f"{path}#{page}" if pictures.numbered else path
    try:
        with refusals(name):
            return name, medmnist_pixels(pictures.load(page), framing)
    except BloodkerasError as error:
        return name, str(error)


def _missing(pictures: Pictures, path: str) -> list[str]:
    """Return why not all pictures of a file are read, a line each."""
    if pictures.unread:
        pages = MAX_PAGES + pictures.unread
        return [f"{shown(path)} has {pages:,} pages, of which {MAX_PAGES:,} were read"]
    if pictures.broken:
        return [
            f"cannot read all of {shown(path)}: it is damaged or cut short after its first page"
        ]
    return []
