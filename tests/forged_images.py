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
    body = b"WEBP" + b"".join(
        k + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for k, d in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_pages(*pages: tuple[dict[int, object], list[bytes]], order: str = "<") -> bytes:
    """Return a TIFF of any pages: tags, whose values are numbers, texts or tuples, and strips."""
    content = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8))
    for number, (tags, strips) in enumerate(pages):
        count = len(tags) + 2
        start = len(content) + 2 + 12 * count + 4
        table, behind = [], bytearray()
        places = []
        for strip in strips:
            places.append(start + len(behind))
            behind += strip + b"\0" * (len(strip) % 2)
        tags = tags | {273: tuple(places), 279: tuple(map(len, strips))}
        for tag in sorted(tags):
            value = tags[tag]
            if isinstance(value, str):
                kind, length, packed_value = 2, len(value) + 1, value.encode() + b"\0"
            else:
                values = value if isinstance(value, tuple) else (value,)
                kind, length = 4, len(values)
                packed_value = struct.pack(f"{order}{length}I", *values)
            if len(packed_value) > 4:
                place = start + len(behind)
                behind += packed_value + b"\0" * (len(packed_value) % 2)
                packed_value = struct.pack(order + "I", place)
            table.append(
                struct.pack(order + "HHI", tag, kind, length) + packed_value.ljust(4, b"\0")
            )
        following = start + len(behind) if number + 1 < len(pages) else 0
        content += struct.pack(order + "H", count) + b"".join(table)
        content += struct.pack(order + "I", following) + behind
    return bytes(content)


def rgb_page(pixels: np.ndarray, **tags: object) -> tuple[dict[int, object], list[bytes]]:
    """Return a page for `tiff_pages`, 8 bits, grey or RGB; further tags are t254=1."""
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    height, width = pixels.shape[:2]
    described = {
        256: width,
        257: height,
        258: (8,) * samples,
        259: 1,
        262: 2 if samples > 1 else 1,
        277: samples,
        278: height,
    }
    return described | {int(name[1:]): value for name, value in tags.items()}, [pixels.tobytes()]
