"""The segments of a JPEG file: where its picture is described, and what it says of itself."""

from typing import NamedTuple

START, END, EXIF = b"\xff\xd8\xff", b"\xff\xd9", b"Exif\0\0"
SCAN, APP0, APP1, APP2, APP14 = 0xDA, 0xE0, 0xE1, 0xE2, 0xEE
# C4, C8 and CC among them are tables and the like.
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Frames of baseline, extended or progressive JPEGs, with Huffman's codes.
COMMON_FRAMES = {0xC0, 0xC1, 0xC2}
# What most files consist of before the scan: JFIF, EXIF, profiles, Adobe's, comments, tables. With
# the shortest length of each.
PLAIN = {APP0: 16, APP1: 2, APP2: 16, APP14: 14, 0xFE: 2, 0xDB: 2, 0xC4: 2, 0xDD: 4}
PLAIN |= dict.fromkeys(COMMON_FRAMES, 11)


class PlainJpeg(NamedTuple):
    """What a plain JPEG says; height and width of the stored pixels, before they are turned."""

    height: int
    width: int
    exif: bytes


def plain_jpeg(content: bytes) -> PlainJpeg | None:
    """What a file says of itself if it is a whole JPEG with nothing unusual in it.

    Args:
        content: bytes of a file.

    Returns:
        PlainJpeg. None if it is anything else, or anything in it needs a closer look.
    """
    if not content.startswith(START):
        return None
    position, size, exif = 2, None, b""
    while content[position : position + 1] == b"\xff" and position + 4 <= len(content):
        kind, length = content[position + 1], _number(content, position + 2)
        start, end = position + 4, position + 2 + length
        if kind == SCAN:
            is_whole = size is not None and has_end(content, position)
            return PlainJpeg(*size, exif) if is_whole else None
        if length < PLAIN.get(kind, length + 1) or (kind in FRAMES and size is not None):
            return None
        if kind in FRAMES:
            if content[start : start + 1] != b"\x08":  # bits a channel
                return None
            size = _number(content, start + 1), _number(content, start + 3)
        elif kind == APP1 and content.startswith(EXIF, start):
            exif += content[start + len(EXIF) if exif else start : end]
        position = end
    return None


def jpeg_segments(content: bytes) -> tuple[int, int]:
    """Where a JPEG's first compressed scan starts, and where its frame is described.

    Found by hopping over segments: an end marker before the scan is that of a thumbnail, and one
    behind it can mean nothing else.
    """
    position, frame = 2, 0
    while position + 4 <= len(content) and content[position + 1] != SCAN:
        if content[position + 1] == 0xFF:  # to fill up
            position += 1
            continue
        if content[position + 1] in FRAMES:
            frame = position
        position += 2 + _number(content, position + 2)
    return position, frame


def has_end(content: bytes, scan: int) -> bool:
    """Whether a JPEG whose first scan stands at a place has its end."""
    return content.endswith(END) or content.find(END, scan) >= 0


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 2], "big")
