"""Writes image files by hand: headers that claim what the bytes do not hold.

Flow: takes sizes and tags; gives bytes.
"""

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image


@cache
def packed(count: int) -> bytes:
    """Return many zeros, deflated."""
    return zlib.compress(bytes(count))


def cell() -> Image.Image:
    """Return 64x64 pixels in grey, equal in every mode: a dark disc on a slope."""
    y, x = np.mgrid[:64, :64]
    grey = 120 + y + x - 70 * ((x - 30) ** 2 + (y - 34) ** 2 < 400)
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def other() -> Image.Image:
    """Return another picture, the second of an animation."""
    return Image.new("RGB", (64, 64), "red")


def encoded(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    """Return an image file's bytes."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """Return a grey PNG that claims any size and holds little."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = (*chunks, png_chunk(b"IDAT", zlib.compress(bytes(64))), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(body)


def tiff(width: int, height: int, compression: int = 1, **tags: int) -> bytes:
    """Return a grey TIFF that claims any size and holds little; tags are t322=16384."""
    data = packed(1 << 20)
    entries = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 277: 1}
    if not tags:
        entries |= {273: 1000, 278: height, 279: len(data)}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)
    return head.ljust(1000, b"\0") + data


def webp_canvas(side: int) -> bytes:
    """Return an animated WebP with a small frame on a canvas of any size."""
    still = encoded(cell(), "WEBP", lossless=True)[12:]
    edge = (side - 1).to_bytes(3, "little")
    frame = bytes(6) + (63).to_bytes(3, "little") * 2 + bytes(4) + still
    parts = [(b"VP8X", b"\2\0\0\0" + edge + edge), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2)
                              for k, d in parts)  # fmt: skip
    return b"RIFF" + struct.pack("<I", len(body)) + body
