"""TIFF stacks with any tag, made by hand."""

import struct
from collections.abc import Sequence

import numpy as np

SHORT, LONG, RATIONAL = 3, 4, 5


def tiff(
    pages: Sequence[np.ndarray], tags: dict[int, tuple] | None = None, without: Sequence[int] = (), packed=None
) -> bytes:
    """A little-endian TIFF of one strip a page.

    Parameters
    ----------
    pages
        Images [y, x].
    tags
        By number: (type, value), over the usual ones; of rationals the value is (numerator, denominator).
    without
        Tags to leave out.
    packed
        Turns a page's bytes into those of its strip.
    """
    out = bytearray(b"II*\0" + bytes(4))
    previous = 4
    for page in pages:
        data = packed(page.tobytes()) if packed else page.tobytes()
        start = len(out)
        out += data + b"\0" * (len(data) % 2)
        height, width = page.shape
        kind = {"u": 1, "i": 2, "f": 3}[page.dtype.kind]
        all_tags = {
            254: (LONG, 2),
            256: (SHORT, width),
            257: (SHORT, height),
            258: (SHORT, 8 * page.itemsize),
            259: (SHORT, 1),
            262: (SHORT, 1),
            273: (LONG, start),
            274: (SHORT, 1),
            277: (SHORT, 1),
            278: (SHORT, height),
            279: (LONG, len(data)),
            339: (SHORT, kind),
        } | (tags or {})
        places = {}
        for number, (form, value) in all_tags.items():
            if form == RATIONAL:
                places[number] = len(out)
                out += struct.pack("<II", *value)
        directory = len(out)
        struct.pack_into("<I", out, previous, directory)
        kept = [number for number in sorted(all_tags) if number not in without]
        out += struct.pack("<H", len(kept))
        for number in kept:
            form, value = all_tags[number]
            word = places[number] if form == RATIONAL else value
            out += struct.pack("<HHI", number, form, 1) + struct.pack(
                "<HH" if form == SHORT else "<I", *((word, 0) if form == SHORT else (word,))
            )
        previous = len(out)
        out += bytes(4)
    return bytes(out)
