"""The executor `thumbnail`: an image in, a small PNG or JPEG out.

An image from a stranger is hostile until proved otherwise: a few kilobytes can unfold into
gigabytes of pixels. So only four formats are tried, the size is judged by the image's header
before a single pixel is unpacked, and the attempt has a time limit.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from masterworker import Register, TaskContext, hookimpl
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")


@dataclass(frozen=True)
class Limits:
    """What the operator allows, in pixels: `max_size` is a thumbnail's longer side, and
    `default_size` what it is unless the task says; `max_pixels` is an image's width times height.
    """

    max_size: int = 512
    default_size: int = 128
    max_pixels: int = 50_000_000


def configure(raw: Mapping[str, Any]) -> Limits:
    """Check the worker's table `[executors.thumbnail]`."""
    names = [field.name for field in fields(Limits)]
    for name, value in raw.items():
        if name not in names:
            raise ValueError(f"unknown key {name!r}; there are {', '.join(names)}")
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {value!r}, expected a whole number of pixels above 0")
    limits = Limits(**raw)
    if limits.default_size > limits.max_size:
        raise ValueError(f"default_size is above max_size, which is {limits.max_size}")
    return limits


def thumbnail(payload: bytes, task: TaskContext) -> bytes:
    """Shrink an image so that its longer side has at most the pixels of the option `size`."""
    limits: Limits = task.config
    size = wanted_size(task.options, limits)
    with open_image(payload, limits) as image:
        image.draft("RGB", (size, size))  # a JPEG can be unpacked at a fraction of its size
        small = ImageOps.exif_transpose(image)
        small.thumbnail((size, size))
    result = io.BytesIO()
    if small.has_transparency_data:
        small.convert("RGBA").save(result, "PNG", optimize=True)
    else:
        small.convert("RGB").save(result, "JPEG", quality=85)
    return result.getvalue()


def wanted_size(options: Mapping[str, str], limits: Limits) -> int:
    """The size the task asks for. Raises ValueError if the operator does not allow it."""
    text = options.get("size", str(limits.default_size))
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise ValueError(f"size is {text!r:.100}, expected a whole number of pixels")
    if not 1 <= int(text) <= limits.max_size:
        raise ValueError(f"size is {text}, and this worker makes 1 to {limits.max_size} pixels")
    return int(text)


def open_image(payload: bytes, limits: Limits) -> Image.Image:
    """Read an image's header, no more. Raises ValueError if it is none, or has too many pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(payload), formats=FORMATS)
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"no image of {', '.join(FORMATS)}, or too large a one: {error}"
        ) from error
    if image.width * image.height > limits.max_pixels:
        raise ValueError(
            f"an image of {image.width} x {image.height} pixels; this worker takes at most "
            f"{limits.max_pixels:,} in all"
        )
    return image


@hookimpl
def masterworker_register_executors(register: Register) -> None:
    """Bring `thumbnail`."""
    register("thumbnail", thumbnail, time_limit=30, config=configure)
