"""What a small file of a picture can make a decoder do for minutes: parts without content, passes over all pixels."""

from i2i_rt.errors import MediaError

PARTS = 20_000  # of a PNG file, or in front of a JPEG's pixels; a file of 32 MB has some thousands
SCANS = 100  # passes over a JPEG's pixels; a progressive one has about ten


def check_effort(content: bytes, name: str) -> None:
    """Looks through a file without decoding anything of it.

    Raises:
        MediaError: where a decoder would be busy with other things than pixels.
    """
    if content.startswith(b"\x89PNG"):
        _check_png(content, name)
    elif content.startswith(b"\xff\xd8"):
        _check_jpeg(content, name)


def _check_png(content: bytes, name: str) -> None:
    place = 8
    for _ in range(PARTS):
        if place + 8 > len(content):
            return
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    raise MediaError(f"{name} is a file of more than {PARTS} parts")


def _check_jpeg(content: bytes, name: str) -> None:
    place = 2
    for _ in range(PARTS):
        marker = content[place : place + 2]
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] == 0xDA:
            if content.count(b"\xff\xda", place) > SCANS:
                raise MediaError(f"{name} has more than {SCANS} passes over its pixels")
            return
        if marker[1] in (0x00, 0xFF):  # to fill up
            place += 1
        elif 0xD0 <= marker[1] <= 0xD9 or marker[1] == 0x01:
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    raise MediaError(f"{name} has more than {PARTS} parts in front of its pixels")
