"""Files for the models of pictures: hostile, broken, and odd ones that are right."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from i2i_rt.video.stills import decode_still
from tests.serving.reliability.case import Case, Seen, one
from tests.serving.reliability.target import LIMITS, Target, png

IMAGE = "/v2/models/cut-image/infer"
SIDE = 64
FAR = 6  # levels between two decoders or encoders of a lossy format


def picture(height: int = SIDE, width: int = SIDE, channels: int = 3) -> np.ndarray:
    """A gradient, which every format holds nearly as it is."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows * 255 // height, columns * 255 // width, (rows + columns) * 255 // (height + width), rows * 0 + 200]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def file_of(array: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    """Gives an array as a file of a format."""
    file = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Gives a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, data: bytes, *more: bytes, bits: int = 8, colour: int = 2) -> bytes:
    """Gives a PNG file of a size that its data need not have."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """12,000 x 12,000 pixels in 420 KB."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * 12_000)
    return png_of(12_000, 12_000, b"".join(packer.compress(row) for _ in range(12_000)) + packer.flush())


def png_of_parts(count: int) -> bytes:
    """A PNG file with parts that say nothing."""
    return png_of(SIDE, SIDE, zlib.compress(bytes((1 + 3 * SIDE) * SIDE)), chunk(b"teSt", b"") * count)


def jpeg_of_parts(part: bytes, count: int) -> bytes:
    """A JPEG file with parts in front of its pixels."""
    whole = file_of(picture(), "JPEG")
    return whole[:2] + part * count + whole[2:]


def jpeg_of_scans(count: int) -> bytes:
    """A JPEG file that goes over its pixels again and again: 3 ms for 15 bytes where there are 9 million pixels."""
    whole = file_of(np.full((512, 512, 3), 128, np.uint8), "JPEG", progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[start:-2] * count + whole[-2:]


def jpeg_of_size(height: int, width: int) -> bytes:
    """A JPEG file whose header says another size than its data have."""
    data = bytearray(file_of(picture(), "JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_of_size(side: int) -> bytes:
    """A lossless WebP file whose header says another size than its data have."""
    data = bytearray(file_of(picture(), "WEBP", lossless=True))
    place = data.index(b"VP8L") + 9
    rest = int.from_bytes(data[place : place + 4], "little") >> 28
    data[place : place + 4] = ((side - 1) | (side - 1) << 14 | rest << 28).to_bytes(4, "little")
    return bytes(data)


def refused(name: str, make: Callable[[], bytes]) -> Case:
    """A case of a file that is refused."""

    def run(target: Target) -> Seen:
        file = make()
        answer = target.post(IMAGE, file)
        return one(answer.code, note=f"{len(file):,} bytes")

    return Case(name, frozenset({"400"}), run)


def translated(name: str, make: Callable[[], bytes], *, exact: bool = True) -> Case:
    """A case of a file that is translated as the same pixels are in this process; a lossy one nearly."""

    def run(target: Target) -> Seen:
        file = make()
        answer = target.post(IMAGE, file)
        if answer.code == "200":
            wanted = target.translators["cut"](decode_still(file, name).image)
            found = Image.open(io.BytesIO(answer.content))
            assert found.format == Image.open(io.BytesIO(file)).format
            difference = np.abs(np.asarray(found.convert("RGB")).astype(int) - wanted)
            assert difference.max() == 0 if exact else difference.mean() < FAR, f"{difference.mean():.1f} levels"
        return one(answer.code)

    return Case(name, frozenset({"200"}), run)


def _text_bomb() -> bytes:
    """64 MB of text in a PNG file of 64 KB."""
    text = b"comment\0\0" + zlib.compress(bytes(2**26), 9)
    row = zlib.compress(bytes((1 + 3 * SIDE) * SIDE))
    return png_of(SIDE, SIDE, row, chunk(b"zTXt", text))


def _animated(kind: str) -> bytes:
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=40)
    return file.getvalue()


def _with_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 10_000)
    return file_of(picture(), "PNG", pnginfo=info)


def _progressive() -> bytes:
    return file_of(picture(), "JPEG", quality=95, progressive=True)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    return file_of(picture(64, 96), "JPEG", exif=exif, quality=95)


def _sixteen_bits() -> bytes:
    return file_of((picture()[..., 0].astype(np.uint16) * 257), "PNG")


def _random(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def _fuzzed(target: Target) -> Seen:
    """Files of every format with wrong bytes in them: translated or refused, nothing else."""
    random = np.random.default_rng(21)
    codes: list[str] = []
    for kind in ("PNG", "JPEG", "WEBP"):
        whole = file_of(picture(), kind)
        for _ in range(25):
            data = bytearray(whole)
            for place in random.integers(0, len(data), 4):
                data[place] = random.integers(256)
            codes.append(target.post(IMAGE, bytes(data)).code)
    assert set(codes) <= {"200", "400"}, set(codes)
    return Seen(frozenset(codes), note=f"{codes.count('400')} of {len(codes)} refused")


CASES = (
    refused("an empty file", lambda: b""),
    refused("random bytes as a picture", lambda: _random(1, 5000)),
    refused("an SVG file", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    refused("a GIF file", lambda: file_of(picture()[..., 0], "GIF")),
    refused("a TIFF file", lambda: file_of(picture(), "TIFF")),
    refused("an EPS file, which would start a program", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    refused("half of a JPEG file", lambda: file_of(picture(256, 256), "JPEG")[:2000]),
    refused("a JPEG file without pixels", lambda: file_of(picture(), "JPEG").split(b"\xff\xda")[0]),
    refused("half of a PNG file", lambda: file_of(picture(), "PNG")[:120]),
    refused("half of a WebP file", lambda: file_of(picture(), "WEBP")[:100]),
    refused("a PNG file with a wrong checksum", lambda: png(picture()).replace(b"IDAT", b"IDAS")),
    refused("a PNG bomb of 12,000 x 12,000 pixels", bomb),
    refused("a PNG file of 2^31 - 1 pixels a side", lambda: png_of(2**31 - 1, 2**31 - 1, zlib.compress(b"\0"))),
    refused("a PNG file without a side", lambda: png_of(0, SIDE, zlib.compress(b"\0"))),
    refused("a PNG file with too few rows", lambda: png_of(SIDE, SIDE, zlib.compress(bytes(500)))),
    refused("a PNG file with 64 MB of packed text", _text_bomb),
    refused("a PNG file of 80,000 empty parts", lambda: png_of_parts(80_000)),
    refused("a JPEG file of 200,000 empty parts", lambda: jpeg_of_parts(b"\xff\xfe\x00\x02", 200_000)),
    refused("a JPEG file with a megabyte to fill it up", lambda: jpeg_of_parts(b"\xff", 1_000_000)),
    refused("a JPEG file of 30,000 passes over its pixels", lambda: jpeg_of_scans(30_000)),
    refused("a JPEG file that says 65,500 x 65,500", lambda: jpeg_of_size(65_500, 65_500)),
    refused("a WebP file that says 16,383 x 16,383", lambda: webp_of_size(16_383)),
    refused("a picture over the limit of pixels", lambda: png(picture(513, 512))),
    refused("a picture over the limit of a side", lambda: png(picture(4, LIMITS.side + 1))),
    refused("a file over the limit of bytes", lambda: png(picture()) + bytes(LIMITS.file_bytes)),
    refused("an animated PNG file", lambda: _animated("PNG")),
    refused("an animated WebP file", lambda: _animated("WEBP")),
    Case("75 files with wrong bytes in them", frozenset({"200", "400"}), _fuzzed),
    translated("a picture of one pixel", lambda: png(picture(1, 1))),
    translated("a picture of 61 x 75 pixels", lambda: png(picture(61, 75))),
    translated("a grey picture", lambda: file_of(picture(), "PNG", "L")),
    translated("a picture of 16 bits", _sixteen_bits),
    translated("a picture with a palette", lambda: file_of(picture(), "PNG", "P")),
    translated("a black and white picture", lambda: file_of(picture(), "PNG", "1")),
    translated("a picture with text", _with_text),
    translated("a lossless WebP file", lambda: file_of(picture(), "WEBP", lossless=True), exact=False),
    translated("a JPEG file", lambda: file_of(picture(), "JPEG", quality=95), exact=False),
    translated("a progressive JPEG file", _progressive, exact=False),
    translated("a JPEG file in CMYK", lambda: file_of(picture(), "JPEG", "CMYK", quality=95), exact=False),
    translated("a JPEG file that is to be turned", _turned, exact=False),
    translated(
        "a JPEG file with something behind it", lambda: file_of(picture(), "JPEG", quality=95) + b"x" * 999, exact=False
    ),
)
