"""Searches a folder for images, past what systems and programs leave beside them.

Flow: takes a folder; gives the paths of its images, in order, and says what it passed over.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator

from bloodkeras.images.preprocess import IMAGE_SUFFIXES

LOG = logging.getLogger(__name__)

# Names, in small letters, of what macOS, Windows, Linux, NAS boxes and photo programs leave.
# Whatever begins with a dot is hidden, and passed over too.
_SYSTEM = (
    "__macosx|icon\r|network trash folder|temporary items|$recycle.bin|recycler|"
    "system volume information|thumbs.db|ehthumbs.db|ehthumbs_vista.db|desktop.ini|picasa.ini|"
    "lost+found|@eadir|@tmp|@sharebin|@recycle|@recently-snapshot|@__thumb|#recycle|#snapshot|"
    "_gsdata_|captureone|__pycache__"
)
SYSTEM_NAMES = set(_SYSTEM.split("|"))
SYSTEM_STARTS = (".", ":2e")  # a dot, and how some file servers write it
SYSTEM_ENDINGS = (".lrdata", ":zone.identifier", "@synoeastream", "@synoresource")
_HINTED = {
    "not supported: convert to JPEG": (
        ".heic .heif .hif .avif .jxl .jp2 .j2k .jpf .jpx .wdp .jxr .psd .xcf .pdf .svg .eps .ico "
        ".tga .exr .hdr .fits .dcm .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .raw .svs .ndpi .mrxs "
        ".scn .czi .lif .nd2 .vsi .oib .oif"
    ),
    "read if you name it": ".npy .npz",
    "read by `bloodkeras score`": ".parquet .parq",
    "unpack it": ".zip .tar .gz .tgz .7z .rar",
}
HINTS = {ending: hint for hint, endings in _HINTED.items() for ending in endings.split()}
ENDING = re.compile(r"\.[a-z0-9_~+-]{1,12}")
SCALE_FILE = "microns_per_pixel.txt"  # one number, of all photographs in a folder that is named
SHOWN = 8  # kinds of files, and names of folders, that one line says


class PassedOver:
    """What a search did not look at."""

    def __init__(self, known: str = "") -> None:
        """Begin with nothing; a file that is known, the table of labels perhaps, is not counted."""
        self._known = known and os.path.abspath(known)
        self._kinds: Counter[str] = Counter()  # files by what is said of them
        self._folders: Counter[str] = Counter()  # names of folders

    def add(self, path: str, is_folder: bool, kind: str = "") -> None:
        """Note a file or a folder; its kind is found by its name if it is not given."""
        name = os.path.basename(path)
        if is_folder:
            self._folders[name] += 1
        elif os.path.abspath(path) != self._known:
            self._kinds[kind or _kind(name)] += 1

    def __str__(self) -> str:
        """Return it as one line; "" if nothing was passed over."""
        parts = []
        if count := self._kinds.total():
            kinds = [f"{number:,} {kind}" for kind, number in self._kinds.most_common(SHOWN)]
            others = count - sum(number for _, number in self._kinds.most_common(SHOWN))
            kinds += [f"{others:,} of other kinds"] * bool(others)
            parts.append(f"{count:,} file{'s' * (count != 1)}: {', '.join(kinds)}")
        if count := self._folders.total():
            names = [name if name.isprintable() else ascii(name) for name in self._folders]
            shown = ", ".join([*names[:SHOWN], *["..."] * (len(names) > SHOWN)])
            parts.append(f"{count:,} folder{'s' * (count != 1)} of a system's or hidden: {shown}")
        return f"passed over {'; and '.join(parts)}" if parts else ""

    def say(self) -> None:
        """Warn of it, if there is anything to say."""
        if text := str(self):
            LOG.warning(text)


def is_left_over(name: str) -> bool:
    """Return whether the name is a hidden one, or of what a system or a program leaves."""
    plain = name.casefold()
    return (
        plain in SYSTEM_NAMES or plain.startswith(SYSTEM_STARTS) or plain.endswith(SYSTEM_ENDINGS)
    )


def looks_like_image(name: str) -> bool:
    """Return whether the name has the ending of an image, in letters of any size."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def walk(top: str, passed: PassedOver | None = None) -> Iterator[tuple[str, str]]:
    """Yield (path, why it cannot be read or "") of all images below a folder.

    Files come before folders, each sorted by name; only the names of one folder are held. Links to
    folders are not followed, so nothing is met twice.

    Args:
        top: The folder, whatever its own name.
        passed: Takes note of what is not looked at.
    """
    passed = passed or PassedOver()
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted((entry.name, *_folder_or_link(entry)) for entry in entries)
        except OSError as error:
            yield folder, f"cannot read {folder}: {error.strerror}"
            continue
        below = []
        for name, is_folder, is_link in found:
            path = os.path.join(folder, name)
            if is_left_over(name):
                passed.add(path, is_folder)
            elif is_folder:
                if looks_like_image(name) and not any(True for _ in walk(path)):
                    yield path, f"{path} is a folder without images"
                else:
                    below.append(path)
            elif looks_like_image(name):
                yield path, ""
            elif name != SCALE_FILE or folder != top:  # below, it does not count
                passed.add(path, False, "link to a folder (not followed)" if is_link else "")
        folders += reversed(below)


def _folder_or_link(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Return whether an entry is a folder, and whether it is a link to one."""
    is_folder = entry.is_dir(follow_symlinks=False)
    return is_folder, entry.is_symlink() and os.path.isdir(entry.path)


def _kind(name: str) -> str:
    """Return what is said of a file that is not looked at, by its name."""
    if is_left_over(name):
        return "hidden or a system's"
    ending = os.path.splitext(name)[1].lower()
    if not ENDING.fullmatch(ending):
        return "without ending"
    return f"{ending} ({HINTS[ending]})" if ending in HINTS else ending
