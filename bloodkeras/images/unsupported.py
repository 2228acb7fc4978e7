"""Says what a sound file is that nothing here reads, so that it is not called damaged.

Flow: takes an open file that Pillow could not open or decode; gives what it is, or "" where its
bytes are broken, or nobody knows.
"""

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL import Image
from PIL import TiffImagePlugin as tiff

# offset, bytes there, name
MAGIC = (
    (0, b"8BPS", "a Photoshop file (PSD)"),
    (0, b"ZISRAWFILE", "a Zeiss CZI file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (0, b"\x70\x00\x00\x00", "a Leica LIF file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE container (Olympus OIB, Zeiss ZVI)"),
    (0, b"II\xbc\x01", "a JPEG XR image"),
    (0, b"IIRO", "a camera's raw file"),
    (0, b"IIU\x00", "a camera's raw file"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file"),
    (8, b"CR\x02\x00", "a camera's raw file"),
    (0, b"%PDF-", "a PDF"),
    (0, b"gimp xcf", "a GIMP file (XCF)"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"P7\n", "a PAM image"),
    (0, b"qoif", "a QOI image"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"icns", "an icon"),
    (0, b"\x00\x00\x01\x00", "an icon"),
    (0, b"BPG\xfb", "a BPG image"),
    (0, b"\x93NUMPY", "a NumPy array"),
)
BRANDS = {  # of a container that begins with its type: what telephones write, and films
    "an AVIF image": (b"avif", b"avis"),
    "a camera's raw file": (b"crx ",),
    "a HEIC photograph": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
}
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TIFF_READ = (1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000)  # compressions Pillow's libtiff has
TIFF_NAMES = {  # of those it has not
    "old JPEG": (6,),
    "JPEG 2000": (33003, 33004, 33005, 34712),
    "Nikon's raw": (34713,),
    "LERC": (34887,),
    "lossy raw": (34892,),
    "PNG": (34933,),
    "JPEG XR": (34934, 22610),
    "WebP": (50001,),
    "JPEG XL": (50002, 52546),
}
MOST_SAMPLES = 64  # a pixel; more is a damaged table
STARTS = (tiff.STRIPOFFSETS, tiff.TILEOFFSETS)
LENGTHS = (tiff.STRIPBYTECOUNTS, tiff.TILEBYTECOUNTS)
JPEG_READ = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # frames of 8 bits that are not lossless
JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
MOST_SEGMENTS = 1000  # of a JPEG, before its frame


def unsupported(file: BinaryIO, error: Exception | None = None) -> str:
    """Return what a file is, with its article; "" where it may be damaged.

    Args:
        file: Open at any place.
        error: What Pillow raised when it decoded it; None when it could not even open it.
    """
    try:
        file.seek(0)
        head = file.read(256)
        for offset, magic, name in MAGIC:
            if head[offset:].startswith(magic):
                return name
        if head[4:8] == b"ftyp":
            return _named(BRANDS, head[8:12]) or "a film, or another ISO media file"
        if head[:4] in TIFF_HEADS:
            return _tiff(file, head, error)
        return _jpeg(file) if head[:2] == b"\xff\xd8" else ""
    except Exception:  # broken bytes bring out anything: the file is damaged
        return ""


def _named(names: Mapping[str, tuple[Any, ...]], value: Any) -> str:
    return next((name for name, values in names.items() if value in values), "")


def _tiff(file: BinaryIO, head: bytes, error: Exception | None) -> str:
    big = head[2] == 43 or head[3] == 43
    tags = tiff.ImageFileDirectory_v2(head[: 16 if big else 8])
    file.seek(tags.next)
    tags.load(file)
    compression = tags.get(tiff.COMPRESSION, 1)
    if not _is_whole(file, tags):
        return ""
    if compression not in TIFF_READ:
        name = _named(TIFF_NAMES, compression) or f"number {compression}"
        return f"a TIFF compressed as {name}"
    if isinstance(error, (OSError, Image.DecompressionBombError)):
        return ""
    samples, bits = (
        tags.get(tiff.SAMPLESPERPIXEL, 1),
        sorted(set(tags.get(tiff.BITSPERSAMPLE, (1,)))),
    )
    planes = " in separate planes" if tags.get(tiff.PLANAR_CONFIGURATION) == 2 else ""
    return f"a TIFF of {samples} x {', '.join(map(str, bits))} bits a pixel{planes}"


def _is_whole(file: BinaryIO, tags: Mapping[int, Any]) -> bool:
    """Return whether all that the table of a TIFF points to is in the file."""
    starts, lengths = (
        next((tags[tag] for tag in pair if tag in tags), ()) for pair in (STARTS, LENGTHS)
    )
    size = file.seek(0, os.SEEK_END)
    samples = tags.get(tiff.SAMPLESPERPIXEL, 1)
    consistent = len(tags.get(tiff.BITSPERSAMPLE, (1,))) in (1, samples) and samples <= MOST_SAMPLES
    inside = all(start + length <= size for start, length in zip(starts, lengths, strict=True))
    return bool(starts) and consistent and inside


def _jpeg(file: BinaryIO) -> str:
    file.seek(2)
    for _ in range(MOST_SEGMENTS):
        marker, length = file.read(2), int.from_bytes(file.read(2))
        if marker[1] in JPEG_FRAMES:
            bits = file.read(1)[0]
            if marker[1] not in JPEG_READ:
                return "a lossless JPEG"
            return f"a JPEG of {bits} bits" if bits != 8 else ""
        file.seek(length - 2, os.SEEK_CUR)
    return ""
