"""Makes a folder of bad and odd image files, and says what has to become of each.

Flow: takes an empty folder; gives {path: expected}, where expected is ANSWER, or a part of the
line with which the file is refused.
"""

import io
import os
import socket
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from forged_images import cell, encoded, other, packed, png, png_chunk, tiff, webp_canvas
from PIL import Image

ANSWER = "an answer"
BOMB_SIDE = 30_000
DAMAGED = "damaged"  # both "it is damaged" and "its beginning is damaged"
LIMIT = "limit"


def good() -> dict[str, bytes]:
    """Return the same picture in every format."""
    first = cell()
    return {
        "png": encoded(first, "PNG"),
        "jpg": encoded(first, "JPEG", quality=95),
        "tif": encoded(first, "TIFF"),
        "lzw.tif": encoded(first, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": encoded(first, "TIFF", compression="jpeg", quality=95),
        "bmp": encoded(first, "BMP"),
        "webp": encoded(first, "WEBP", lossless=True),
        "gif": encoded(first, "GIF"),
    }


def truncated() -> Iterator[tuple[str, bytes, str]]:
    """Yield each format whole, and broken off at several places."""
    for suffix, content in good().items():
        yield f"whole.{suffix}", content, ANSWER
        for percent in (1, 10, 50, 95):
            yield f"{percent}%.{suffix}", content[: len(content) * percent // 100], DAMAGED


def no_images() -> Iterator[tuple[str, bytes, str]]:
    """Yield files that were never an image."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cell.png", good()["png"])
    yield "empty.png", b"", "empty"
    yield "one byte.jpg", b"\xff", DAMAGED
    yield "text.png", b"These are the cells of Monday.\n", DAMAGED
    yield "html.jpg", b"<!DOCTYPE html><title>404</title>", DAMAGED
    yield "archive.tif", archive.getvalue(), DAMAGED
    yield "zeros.bmp", bytes(10_000), DAMAGED
    yield "signature.png", b"\x89PNG\r\n\x1a\n", DAMAGED
    yield "program.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n", DAMAGED


def bombs() -> Iterator[tuple[str, bytes, str]]:
    """Yield small files that unpack to something very large."""
    jpeg = bytearray(good()["jpg"])
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 4] = struct.pack(">HH", BOMB_SIDE, BOMB_SIDE)
    text = png_chunk(b"zTXt", b"a\0\0" + packed(80_000_000))
    yield "bomb.png", png(BOMB_SIDE, BOMB_SIDE), LIMIT
    yield "bomb.jpg", bytes(jpeg), LIMIT
    yield "bomb.tif", tiff(BOMB_SIDE, BOMB_SIDE), LIMIT
    yield "bomb deflate.tif", tiff(BOMB_SIDE, BOMB_SIDE, 8), LIMIT
    bitmap = b"BM" + struct.pack("<IIIIiiHH", 54, 0, 54, 40, BOMB_SIDE, BOMB_SIDE, 1, 24)
    yield "bomb.bmp", bitmap + bytes(100), LIMIT
    screen = struct.pack("<HH", BOMB_SIDE, BOMB_SIDE)
    yield "bomb.gif", good()["gif"].replace(struct.pack("<HH", 64, 64), screen, 1), LIMIT
    yield "bomb.webp", webp_canvas(16_000), LIMIT
    yield "canvas.webp", webp_canvas(64), ANSWER
    yield "bomb tile.tif", tiff(64, 64, 8, t322=16384, t323=16384, t324=1000, t325=999), "tile"
    yield "bomb text.png", png(64, 64, text), DAMAGED
    yield "samples.tif", tiff(64, 64, t277=60_000, t273=1000, t279=99), DAMAGED


def odd_shapes() -> Iterator[tuple[str, bytes, str]]:
    """Yield animations, pages, and sizes that no photograph of a cell has."""
    for kind, suffix in (("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("TIFF", "tif")):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(cell(), kind, save_all=True, append_images=[other()], **options)
        yield f"animated.{suffix}", content, ANSWER
    for width, height in ((1, 1), (1, 500), (500, 1), (28, 2800), (7, 7)):
        pixels = np.zeros((height, width, 3), np.uint8)
        yield f"{width}x{height}.png", encoded(pixels, "PNG"), f"{width}x{height} pixels"
    yield "0x0.png", png(0, 0), "0x0"
    width = struct.pack("<i", 64)
    yield "-1x64.bmp", good()["bmp"].replace(width, struct.pack("<i", -1), 1), LIMIT


def modes() -> Iterator[tuple[str, bytes, str]]:
    """Yield the picture in every colour mode, and modes whose black and white nobody knows."""
    first, grey = cell(), np.asarray(cell().convert("L"))
    alpha = first.convert("RGBA")
    yield "grey.png", encoded(grey, "PNG"), ANSWER
    yield "grey alpha.png", encoded(alpha.convert("LA"), "PNG"), ANSWER
    yield "alpha.webp", encoded(alpha, "WEBP", lossless=True), ANSWER
    yield "palette.png", encoded(first.convert("L").convert("P"), "PNG", transparency=0), ANSWER
    yield "cmyk.jpg", encoded(first.convert("CMYK"), "JPEG", quality=95), ANSWER
    yield "cmyk.tif", encoded(first.convert("CMYK"), "TIFF"), ANSWER
    yield "16 bit.png", encoded(grey.astype(np.uint16) * 257, "PNG"), ANSWER
    yield "16 bit.tif", encoded(grey.astype(np.uint16) * 257, "TIFF"), ANSWER
    yield "16 bit.pgm", encoded(grey.astype(np.int32) * 257, "PPM"), ANSWER
    yield "12 of 16 bit.png", encoded(grey.astype(np.uint16) * 16, "PNG"), "fewer bits"
    yield "32 bit.tif", encoded(grey.astype(np.int32) * 257, "TIFF"), "colour mode I"
    yield "float.tif", encoded(grey.astype(np.float32) / 255, "TIFF"), "colour mode F"
    yield "nan.tif", encoded(np.full((64, 64), np.nan, np.float32), "TIFF"), "colour mode F"
    lab = Image.merge("LAB", [first.getchannel(0)] * 3)
    yield "lab.tif", encoded(lab, "TIFF"), "colour mode LAB"


def oddities() -> Iterator[tuple[str, bytes, str]]:
    """Yield wrong names, wrong metadata, wrong bytes."""
    files, flipped = good(), bytearray(good()["png"])
    flipped[flipped.index(b"IDAT") + 40] ^= 1
    checksum = bytearray(files["png"])
    checksum[-14] ^= 1
    yield "jpeg named.png", files["jpg"], ANSWER
    yield "png named.txt", files["png"], ANSWER
    yield "no suffix", files["webp"], ANSWER
    yield "flipped bit.png", bytes(flipped), DAMAGED
    yield "checksum.png", bytes(checksum), DAMAGED
    yield "comment.gif", encoded(cell(), "GIF", comment=b"a" * 100_000), ANSWER
    yield "garbage after.png", files["png"] + b"\0garbage" * 99, ANSWER
    yield "garbage after.jpg", files["jpg"] + b"\xff\xd8garbage" * 99, ANSWER
    for suffix, kind, options in (
        ("png", "PNG", {}),
        ("jpg", "JPEG", {"quality": 95}),
        ("webp", "WEBP", {"lossless": True}),
    ):
        exif, icc = b"Exif\0\0II*\0\xff\xff\0\0bad", b"no profile"
        yield f"bad exif.{suffix}", encoded(cell(), kind, exif=exif, **options), ANSWER
        yield f"bad icc.{suffix}", encoded(cell(), kind, icc_profile=icc, **options), ANSWER
    for name in (
        "two  spaces.png",
        "line\nbreak.png",
        "-rf.png",
        "Zählung 血 🩸.png",
        "'\"*?$.png",
    ):
        yield name, files["png"], ANSWER
    yield os.fsdecode(b"latin \xe9.png"), files["png"], ANSWER
    yield "\u202egnp.exe", files["png"], ANSWER
    yield "long" * 62 + ".png", files["png"], ANSWER
    yield "broken\nline.png", b"", "empty"
    yield os.fsdecode(b"broken \xe9.png"), b"", "empty"


def specials(folder: Path) -> Iterator[tuple[str, str]]:
    """Make what is not a regular file, and yield its name and what is expected."""
    (folder / "directory.png").mkdir()
    yield "directory.png", "directory"
    links = {
        "dangling.png": ("nothing", "No such file"),
        "loop.png": ("loop.png", "symbolic links"),
        "link.png": ("whole.png", ANSWER),
        "endless.png": ("/dev/zero", "device"),
    }
    for name, (target, expected) in links.items():
        (folder / name).symlink_to(target)
        yield name, expected
    os.mkfifo(folder / "pipe.png")
    yield "pipe.png", "pipe"
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(folder, os.O_RDONLY)  # a socket's path may not be long, this one is not
        server.bind(f"/proc/self/fd/{here}/socket.png")
        os.close(here)
    yield "socket.png", "socket"
    (folder / "sparse.webp").write_bytes(good()["webp"])
    os.truncate(folder / "sparse.webp", 20_000_000_000)
    yield "sparse.webp", LIMIT
    yield "x" * 300 + ".png", "too long"
    yield "whole.png/below.png", "Not a directory"
    yield "missing.png", "No such file"
    yield "null\0byte.png", "null"
    if os.geteuid() != 0:  # to root every file is readable
        (folder / "locked.png").write_bytes(good()["png"])
        (folder / "locked.png").chmod(0)
        yield "locked.png", "Permission denied"


def make_bad_files(folder: Path) -> dict[str, str]:
    """Fill a folder; return {path: ANSWER, or part of the refusal}."""
    expected = {}
    for kinds in (truncated, no_images, bombs, odd_shapes, modes, oddities):
        for name, content, outcome in kinds():
            assert f"{folder}/{name}" not in expected
            (folder / name).write_bytes(content)
            expected[f"{folder}/{name}"] = outcome
    return expected | {f"{folder}/{name}": outcome for name, outcome in specials(folder)}
