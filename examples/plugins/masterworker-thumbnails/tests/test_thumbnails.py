"""Thumbnails of images made here, and of data that only pretends to be one."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from masterworker import TaskContext
from PIL import Image

from masterworker_thumbnails import configure, thumbnail


def image(width: int, height: int, mode: str = "RGB", kind: str = "PNG", **save: Any) -> bytes:
    """The bytes of an image in one colour."""
    data = io.BytesIO()
    Image.new(mode, (width, height), "red").save(data, kind, **save)
    return data.getvalue()


def shrunk(payload: bytes, config: dict[str, Any] | None = None, **options: str) -> Image.Image:
    """The thumbnail of a payload, read back."""
    task = TaskContext("task-1", "thumbnail", options=options, config=configure(config or {}))
    return Image.open(io.BytesIO(thumbnail(payload, task)))


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be this large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
        )

    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_keeps_proportions() -> None:
    """The longer side gets the size asked for."""
    small = shrunk(image(400, 200), size="100")
    assert (small.format, small.size) == ("JPEG", (100, 50))


def test_default_size() -> None:
    """Without the option, the operator's default holds."""
    assert shrunk(image(400, 400)).size == (128, 128)
    assert shrunk(image(400, 400), {"default_size": 20}).size == (20, 20)


def test_never_enlarges() -> None:
    """A small image keeps its size."""
    assert shrunk(image(10, 5), size="100").size == (10, 5)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP")])
def test_transparency_is_kept(mode: str, kind: str) -> None:
    """An image with transparency becomes a PNG."""
    colour = (255, 0, 0, 0) if mode == "RGBA" else (255, 0)
    data = io.BytesIO()
    Image.new(mode, (300, 300), colour).save(data, kind, lossless=True)
    small = shrunk(data.getvalue())
    assert (small.format, small.mode) == ("PNG", "RGBA")


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "PNG"), ("P", "GIF"), ("CMYK", "JPEG"), ("1", "PNG")]
)
def test_other_modes_become_jpeg(mode: str, kind: str) -> None:
    """Every colour mode without transparency comes out as a JPEG."""
    data = io.BytesIO()
    Image.new(mode, (300, 300)).save(data, kind)
    assert shrunk(data.getvalue()).format == "JPEG"


def test_orientation_is_applied() -> None:
    """A photo taken sideways comes out upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert shrunk(image(400, 200, kind="JPEG", exif=exif), size="100").size == (50, 100)


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_decompression_bomb_is_refused(side: int) -> None:
    """An image is refused by its header, below, in and above the range where Pillow only warns."""
    with pytest.raises(ValueError, match="pixels"):
        shrunk(claims(side, side))


@pytest.mark.parametrize(
    "payload", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xff\xd8\xff"]
)
def test_no_image(payload: bytes) -> None:
    """Anything else is refused, and no other format's reader is tried."""
    with pytest.raises(ValueError, match="no image of PNG"):
        shrunk(payload)


def test_cut_off_image() -> None:
    """Half an image fails; it does not give half a thumbnail."""
    with pytest.raises(OSError, match="truncated"):
        shrunk(image(4_000, 4_000)[:200])


@pytest.mark.parametrize("size", ["0", "-1", "513", "1e3", "", "9" * 5_000, "\u0663"])
def test_size_refused(size: str) -> None:
    """Only sizes the operator allows are made."""
    with pytest.raises(ValueError, match="size is"):
        shrunk(image(10, 10), size=size)


@pytest.mark.parametrize(
    "config",
    [{"maxsize": 1}, {"max_size": "1"}, {"max_size": 0}, {"max_size": True}, {"max_size": 64}],
)
def test_configuration_refused(config: dict[str, Any]) -> None:
    """A mistake in the table is named by its key."""
    with pytest.raises(ValueError, match="max_?size"):
        configure(config)
