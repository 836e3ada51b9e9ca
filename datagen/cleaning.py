"""What makes a published sample unfit for training, with reasons; pixels change only where they must."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from datagen.mentions import named_references
from datagen.tokens import TOKENS, sample_tokens
from datagen.unusable import UnusableError
from shards.image import ImageError, load_image
from shards.sample import EncodedImage, Json

ORIENTATION = 0x0112
# Source: Exif 2.3, Orientation: what brings an image upright; 1 is upright, other values mean nothing.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TYPES = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"))
NON_COMMERCIAL = frozenset(("nc", "noncommercial", "research", "academic"))


class Cleaning(BaseModel):
    """Which samples are clean enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_side_px: int = Field(default=256, ge=1, description="the least width and height of an image")
    max_aspect: float = Field(default=4.0, ge=1, description="the longer side over the shorter one, at most")
    max_tokens: int = Field(default=TOKENS, ge=1, description="of a sample, as the Scone trainer counts them")
    max_references: int = Field(default=8, ge=1, description="reference images of a sample, at most")
    alpha: Literal["keep", "white", "reject"] = Field(
        default="keep",
        description="an image with transparency: as it is (trainers paste it on white), on white now, or not",
    )
    rotated: Literal["upright", "reject"] = Field(
        default="upright", description="an image that is upright by its EXIF only: turned, or not taken"
    )
    allow_non_commercial: bool = Field(
        default=True, description="whether samples under non-commercial or research licences are taken"
    )

    def check_licence(self, licence: str) -> None:
        """Refuse a licence that the recipe forbids.

        Raises:
            UnusableError: it is one for research or non-commercial use.
        """
        if not self.allow_non_commercial and is_non_commercial(licence):
            raise UnusableError("licence", f"expected a licence for commercial use, got {licence!r:.80}")

    def check_instruction(self, instruction: str, references: int) -> None:
        """Refuse words that cannot be followed.

        Raises:
            UnusableError: there are none, or they name a reference image that is not there.
        """
        if not instruction.strip():
            raise UnusableError("empty_instruction", f"expected words, got {instruction!r:.40}")
        beyond = sorted(number for number in named_references(instruction) if number > references)
        if beyond:
            raise UnusableError(
                "names_missing_reference",
                f"expected at most image {references}, got image {beyond[0]} in {instruction!r:.200}",
            )

    def clean_images(self, images: Sequence[bytes], instruction: str) -> list[Cleaned]:
        """Look at every pixel once; references first, the target last.

        Raises:
            UnusableError: naming the image and what is wrong with it.
        """
        if len(images) - 1 > self.max_references:
            raise UnusableError(
                "too_many_references",
                f"expected at most {self.max_references} references, got {len(images) - 1}",
            )
        seen = [self._image(name, data) for name, data in zip(_names(len(images)), images, strict=True)]
        _check_copies(seen)
        sizes = [each.size for each in seen]
        tokens = sample_tokens(sizes[:-1], sizes[-1], instruction)
        if tokens > self.max_tokens:
            raise UnusableError(
                "too_many_tokens", f"expected at most {self.max_tokens} tokens, got about {tokens}"
            )
        return [each.cleaned for each in seen]

    def clean_references(self, images: Sequence[bytes]) -> list[Cleaned]:
        """As `clean_images`, where there is no target: nothing is trained on it, so no tokens are counted.

        Raises:
            UnusableError: naming the image and what is wrong with it.
        """
        return [self._image(f"ref{number}", data).cleaned for number, data in enumerate(images)]

    def _image(self, name: str, data: bytes) -> _Seen:
        try:
            image = EncodedImage(data, extension_of(data))
            pixels = load_image(image)
        except (ImageError, UnusableError) as error:
            raise UnusableError(error.reason, f"{name}: {error}") from error
        self._check_shape(name, pixels.size)
        return self._changed(name, image, pixels)

    def _check_shape(self, name: str, size: tuple[int, int]) -> None:
        if min(size) < self.min_side_px:
            raise UnusableError(
                "too_small", f"{name}: expected sides of {self.min_side_px} px or more, got {size}"
            )
        if max(size) > self.max_aspect * min(size):
            raise UnusableError(
                "extreme_aspect", f"{name}: expected at most {self.max_aspect:g} to 1, got {size}"
            )

    def _changed(self, name: str, image: EncodedImage, pixels: Image.Image) -> _Seen:
        changes = []
        if (turn := _turn(pixels)) is not None:
            if self.rotated == "reject":
                raise UnusableError("rotated", f"{name}: expected upright pixels, got an EXIF orientation")
            pixels = pixels.transpose(turn)
            changes.append("turned upright")
        if self.alpha != "keep" and is_transparent(pixels):
            if self.alpha == "reject":
                raise UnusableError("transparent", f"{name}: expected opaque pixels, got transparent ones")
            pixels = on_white(pixels)
            changes.append("pasted on white")
        if not changes:
            return _Seen.of(Cleaned(image), pixels)
        origin: dict[str, Json] = {
            "sha256": hashlib.sha256(image.data).hexdigest(),
            "changed": ", ".join(changes),
        }
        return _Seen.of(Cleaned(encode_png(pixels), origin), pixels)


@dataclass(frozen=True)
class Cleaned:
    """An image fit for a sample; `origin` tells what it was where its pixels had to change."""

    image: EncodedImage
    origin: dict[str, Json] | None = None


@dataclass(frozen=True)
class _Seen:
    """What is remembered of an image that was looked at; its pixels are let go before the next is decoded."""

    cleaned: Cleaned
    size: tuple[int, int]
    mode: str
    middle_row: bytes

    @classmethod
    def of(cls, cleaned: Cleaned, pixels: Image.Image) -> _Seen:
        middle = (0, pixels.height // 2, pixels.width, pixels.height // 2 + 1)
        return cls(cleaned, pixels.size, pixels.mode, pixels.crop(middle).tobytes())


def _names(images: int) -> list[str]:
    return [f"ref{number}" for number in range(images - 1)] + ["target"]


def extension_of(data: bytes) -> str:
    """The type of an image by its first bytes; publishers' extensions are often wrong.

    Raises:
        UnusableError: it is no JPEG, PNG or WebP.
    """
    for begin, extension in TYPES:
        if data.startswith(begin):
            return extension
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    reason = "undecodable" if data else "empty"
    raise UnusableError(reason, f"expected a JPEG, PNG or WebP, got {data[:12]!r}")


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """What brings an image upright; None where its EXIF says nothing, or nothing that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of EXIF that breaks off
            return TURNS.get(picture.getexif().get(ORIENTATION) or 0)
    except (SyntaxError, ValueError, TypeError, OSError, struct.error):  # Pillow's, of EXIF that is none
        return None


def is_transparent(picture: Image.Image) -> bool:
    """Whether any pixel lets something through."""
    if not picture.has_transparency_data:
        return False
    lowest = picture.convert("RGBA").getchannel("A").getextrema()[0]
    return bool(lowest != 255)


def on_white(picture: Image.Image) -> Image.Image:
    """As the released loader shows it to the model."""
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def encode_png(picture: Image.Image) -> EncodedImage:
    """Pixels that had to change, without further loss; metadata stays behind."""
    sink = io.BytesIO()
    bare = Image.frombytes(picture.mode, picture.size, picture.tobytes()) if picture.mode != "P" else picture
    bare.save(sink, "PNG", compress_level=3)
    return EncodedImage(sink.getvalue(), "png")


def _check_copies(seen: Sequence[_Seen]) -> None:
    target = seen[-1]
    for number, reference in enumerate(seen[:-1]):
        if _is_same(reference, target):
            raise UnusableError(
                "reference_is_target", f"ref{number}: expected another image than the target's"
            )


def _is_same(one: _Seen, other: _Seen) -> bool:
    if one.cleaned.image.data == other.cleaned.image.data:
        return True
    if (one.size, one.mode, one.middle_row) != (other.size, other.mode, other.middle_row):
        return False
    pixels, others = (
        load_image(each.cleaned.image).convert("RGBA").tobytes() for each in (one, other)
    )  # colours: palettes may differ where their numbers do not
    return pixels == others


def is_non_commercial(licence: str) -> bool:
    """Whether a licence's name or words limit use to research or to no gain.

    >>> is_non_commercial("CC-BY-NC-ND-4.0"), is_non_commercial("apache-2.0"), is_non_commercial("")
    (True, False, False)
    >>> is_non_commercial("Free for non commercial use."), is_non_commercial("(research, teaching)")
    (True, True)
    """
    words = re.sub(r"\bnon[ _-]?commercial", "noncommercial", licence.lower())
    return not NON_COMMERCIAL.isdisjoint(re.findall(r"[a-z]+", words))
