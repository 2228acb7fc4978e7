"""Finds the images that the words of a command line mean, and reads them ahead in threads.

Flow: takes files, folders, globs, arrays, `-`; gives (name, uint8 (S, S, 3) or an error), lazily
and in order. A page of a multi-page image is named file#page, a row of an array file#row, from 0.
One bad file or page must not stop the others, so what cannot be read is an error among them.
"""

import codecs
import glob
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image

from bloodkeras.cores import core_count
from bloodkeras.errors import BloodkerasError
from bloodkeras.images.arrays import (
    ARRAY_SUFFIXES,
    Item,
    Part,
    array_parts,
    count_held,
    count_rows,
    error_part,
)
from bloodkeras.images.decode import FORMATS, MAX_PAGES, Pictures, opened
from bloodkeras.images.folder import PassedOver, is_left_over, walk
from bloodkeras.images.framing import UNKNOWN, Framing
from bloodkeras.images.preprocess import IMAGE_SUFFIXES, medmnist_pixels
from bloodkeras.images.refusal import refusals, shown
from bloodkeras.named_types import Pixels

STDIN = "-"  # this word stands for a list of paths on standard input, one a line
MAX_PATH_BYTES = 65_536  # of a line on standard input, which may be anything
GROUP = 8  # parts a thread reads in one go, for a thread costs as much as a small image


def check_words(words: Iterable[str]) -> None:
    """Refuse words that mean nothing, before anything is started.

    Raises:
        BloodkerasError: A path does not exist, a glob matches nothing, a folder holds no image.
    """
    for word in words:
        if word == STDIN:
            continue
        if not any(True for _ in _expand(word)):
            pattern = set(word) & set("*?[")
            wanted = "no file matches the pattern" if pattern else "no such file or folder"
            raise BloodkerasError(f"{wanted}: {word}")
        passed = PassedOver()
        if os.path.isdir(word) and not any(True for _ in walk(word, passed)):
            endings = " ".join(IMAGE_SUFFIXES)
            beside = f"; {passed}" if str(passed) else ""
            raise BloodkerasError(f"no image in the folder {word}: looked for {endings}{beside}")


def stream(
    words: Iterable[str],
    skip: int = 0,
    threads: int | None = None,
    framing: Framing = UNKNOWN,
    passed: PassedOver | None = None,
) -> Iterator[Item]:
    """Yield every image that the words mean, in order, reading ahead.

    Args:
        words: Files, folders, globs, arrays, `-`.
        skip: Leave out this many at the start, without decoding them.
        threads: Threads to read with; all cores when None.
        framing: What is known of the photographs' magnification.
        passed: Takes note of what is in the folders and not looked at.
    """
    yield from read_ahead(_reads(find_parts(words, framing, passed), skip), threads)


def read_ahead(
    reads: Iterable[Callable[[], list[Item]]], threads: int | None = None, at_once: int = GROUP
) -> Iterator[Item]:
    """Yield what the functions return, in order; threads call those that come next meanwhile.

    Args:
        reads: They read some items each, as those of a `Part` do.
        threads: All cores when None.
        at_once: Functions that a thread calls in one go; fewer hold less memory.
    """
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # too large is refused anyway
    reads = iter(reads)
    threads = threads or core_count()
    ahead: deque[Future[list[Item]]] = deque()
    pool = ThreadPoolExecutor(threads, "read")
    try:
        while True:
            while len(ahead) < 2 * threads and (group := list(islice(reads, at_once))):
                ahead.append(pool.submit(_read_all, group))
            if not ahead:
                return
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read_all(reads: list[Callable[[], list[Item]]]) -> list[Item]:
    return [item for read in reads for item in read()]


def count_images(words: Iterable[str], framing: Framing = UNKNOWN) -> int:
    """Return about how many items `stream` will give; every page of an image but one is missed."""
    return sum(
        count_rows(path, framing.image_side) if not error and is_array(path) else 1
        for path, error in find_paths(words)
    )


def all_have_side(words: Iterable[str], side: int) -> bool:
    """Return whether everything that the words mean has a side already: no photograph is there.

    Only headers are read, up to the first photograph. An image that cannot be read does not
    count. A list on standard input only comes once, so it is taken for one of photographs.
    """
    words, some = list(words), False
    if STDIN in words:
        return False
    for path, error in find_paths(words):
        if error or not os.path.isfile(path):  # a pipe must stay shut
            continue
        try:
            if is_array(path):
                fits = count_held(path, side) > 0
            else:
                with refusals(path), Image.open(path, formats=FORMATS) as image:
                    fits = image.size == (side, side)
        except BloodkerasError:
            continue
        if not fits:
            return False
        some = True
    return some


def find_parts(
    words: Iterable[str], framing: Framing = UNKNOWN, passed: PassedOver | None = None
) -> Iterator[Part]:
    """Yield what the words mean, unread: one part a file, or 256 rows of an array."""
    for path, error in find_paths(words, passed):
        if is_array(path) and not error:
            yield from array_parts(path, framing.image_side)
        else:
            yield file_part(path, error, framing)


def file_part(path: str, error: str, framing: Framing = UNKNOWN) -> Part:
    """Return an image file, unread, as `find_paths` names it."""
    if error:
        return error_part(path, error)
    return Part(partial(count_pages, path), partial(read_file, path, framing))


def read_file(path: str, framing: Framing = UNKNOWN) -> list[Item]:
    """Return the photograph in a file, or all its pages up to `decode.MAX_PAGES`."""
    return read_pages(path, partial(medmnist_pixels, framing=framing))


def read_pages(path: str, pixels_of: Callable[[Image.Image], Pixels]) -> list[Item]:
    """Return what a function makes of each page of a file, as `read_file` does.

    Args:
        path: The file.
        pixels_of: Takes an upright Pillow image.
    """
    try:
        with refusals(path), opened(path) as pictures:
            items = [_read_page(pictures, path, page, pixels_of) for page in pictures.pages]
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


def _read_page(
    pictures: Pictures, path: str, page: int, pixels_of: Callable[[Image.Image], Pixels]
) -> Item:
    name = f"{path}#{page}" if pictures.numbered else path
    try:
        with refusals(name):
            return name, pixels_of(pictures.load(page))
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


def find_paths(words: Iterable[str], passed: PassedOver | None = None) -> Iterator[tuple[str, str]]:
    """Yield (path, why it cannot be read or "") of every file that the words mean.

    A folder means every image below it, as `folder.walk` finds them; what is named is read,
    whatever its name.

    Args:
        words: Files, folders, globs, arrays, `-`.
        passed: Takes note of what is in the folders and not looked at.
    """
    for word in words:
        for path in _lines() if word == STDIN else _expand(word):
            if os.path.isdir(path):
                files = walk(path, passed)
                yield next(files, (path, f"{path} is a folder without images"))
                yield from files
            else:
                yield path, ""


def is_array(path: str) -> bool:
    """Return whether a file has the name of an array of images; a pipe must stay shut."""
    return path.lower().endswith(ARRAY_SUFFIXES) and os.path.isfile(path)


def _expand(word: str) -> list[str]:
    """Return the word itself if there is such a file, dangling links included, or its matches.

    A glob matches what systems leave as little as it does hidden files, unless it says the name.
    """
    if os.path.lexists(word):
        return [word]
    said = set(Path(word).parts)
    return [
        path
        for path in sorted(glob.glob(word, recursive=True))
        if not any(
            is_left_over(part) and part[0] != "." for part in Path(path).parts if part not in said
        )
    ]


def _lines() -> Iterator[str]:
    lines = iter(lambda: sys.stdin.buffer.readline(MAX_PATH_BYTES), b"")
    for number, line in enumerate(lines):
        if not number:
            line = line.removeprefix(codecs.BOM_UTF8)  # some editors begin a list with it
        if path := line.removesuffix(b"\n").removesuffix(b"\r"):
            yield os.fsdecode(path)


def _reads(parts: Iterable[Part], skip: int) -> Iterator[Callable[[], list[Item]]]:
    """Yield functions that read the parts, but for the first `skip` items."""
    for part in parts:
        if skip and (count := part.count()) <= skip:
            skip -= count
        elif skip:
            yield partial(lambda read, first: read()[first:], part.read, skip)
            skip = 0
        else:
            yield part.read
