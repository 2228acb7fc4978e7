"""Reads all the images that one image file holds: one, or the pages of a TIFF or an animation.

Flow: takes a path; gives (name, uint8 (28, 28, 3) or an error) a page, and never raises: one bad
file must not stop the others. A page is named file#page, counted from 0 as Pillow does.
"""

from PIL import Image

from bloodkeras.errors import BloodkerasError
from bloodkeras.runtime.arrays import Item
from bloodkeras.runtime.preprocess import MAX_PIXELS, medmnist_pixels, read_image, rgb
from bloodkeras.runtime.scale import UNKNOWN, Framing

PAGED_SUFFIXES = (".tif", ".tiff", ".gif", ".webp", ".png")  # all but TIFF may be animated
MAX_PAGES = 1000  # of one file; an error says that there were more


def read_file(path: str, framing: Framing = UNKNOWN) -> list[Item]:
    """Return the image in a file, or all its pages up to MAX_PAGES."""
    try:
        pages = _count_pages(path)
        if pages == 1:
            return [(path, read_image(path, framing))]
        with Image.open(path) as image:
            items = [
                _read_page(image, path, page, framing) for page in range(min(pages, MAX_PAGES))
            ]
    except BloodkerasError as error:
        return [(path, str(error))]
    except Exception as error:  # Pillow's readers raise whatever their format led them into
        return [(path, f"cannot read {path}: {error or type(error).__name__}")]
    if pages > MAX_PAGES:
        items.append((path, f"{path} has {pages:,} pages, of which {MAX_PAGES:,} were read"))
    return items


def count_pages(path: str) -> int:
    """Return how many items `read_file` gives, from the headers alone."""
    try:
        return min(_count_pages(path), MAX_PAGES + 1)
    except Exception:  # read_file answers this one with an error
        return 1


def _count_pages(path: str) -> int:
    if not path.lower().endswith(PAGED_SUFFIXES):
        return 1
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # read_image finds better words
        return 1


def _read_page(image: Image.Image, path: str, page: int, framing: Framing) -> Item:
    name = f"{path}#{page}"
    try:
        image.seek(page)
        if image.width * image.height > MAX_PIXELS:
            return name, f"{name} is over the limit of {MAX_PIXELS:,} pixels"
        return name, medmnist_pixels(rgb(image.copy()), framing)
    except Exception as error:  # as in read_file
        return name, f"cannot read {name}: {error or type(error).__name__}"
