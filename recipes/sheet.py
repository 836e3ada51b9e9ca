"""A sample as a picture to look at: references, target, boxes and words on one sheet."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from shards.sample import Candidate, EncodedImage, Sample

SIDE_PX = 320
GAP_PX = 12
LINE_PX = 18
BOXES = "Boxes are letters that this sheet's font lacks; the words are printed beside it."
TARGET, OTHER = (30, 140, 60), (190, 60, 40)


def contact_sheet(sample: Sample) -> Image.Image:
    """References left to right with their candidates boxed, the target last, the words below. RGB."""
    columns = len(sample.references) + 1
    width = columns * (SIDE_PX + GAP_PX) + GAP_PX
    font = _font()
    lines = textwrap.wrap(sample.instruction, max(20, width // 8))
    words = [_names(candidates) for candidates in sample.subjects]
    below = [sample.key, *([BOXES] if undrawable(" ".join([sample.instruction, *words])) else [])]
    height = SIDE_PX + 3 * GAP_PX + LINE_PX * (len(lines) + len(below) + 2)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    images = [*sample.references, sample.target]
    for number, image in enumerate(images):
        left = GAP_PX + number * (SIDE_PX + GAP_PX)
        candidates = sample.subjects[number] if number < len(sample.subjects) else ()
        sheet.paste(_tile(image, candidates), (left, GAP_PX))
        label = f"image {number + 1}: {words[number]}" if number < len(words) else "target"
        draw.text((left, SIDE_PX + GAP_PX + 4), label[:46], fill="black", font=font)
    for number, line in enumerate([*lines, *below]):
        top = SIDE_PX + 2 * GAP_PX + LINE_PX * (number + 1)
        draw.text((GAP_PX, top), line, fill="black" if number < len(lines) else "grey", font=font)
    return sheet


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, the one that is on every machine."""
    return ImageFont.load_default(14)


def undrawable(text: str) -> str:
    """The letters of a text that stand as boxes on a sheet: Pillow's own font has those of English.

    >>> undrawable("Zeig die \u7ea2 Eule.")
    '\u7ea2'
    """
    font = _font()
    box = bytes(font.getmask("\U0010ffff"))
    return "".join(sorted({each for each in text if bytes(font.getmask(each)) == box}))


def _names(candidates: Sequence[Candidate]) -> str:
    return ", ".join(f"[{c.name}]" if c.is_target else c.name for c in candidates)


def _tile(image: EncodedImage, candidates: Sequence[Candidate]) -> Image.Image:
    """An image fitted into a square, its candidates' boxes drawn: green to be shown, red not."""
    opened = Image.open(io.BytesIO(image.data)).convert("RGB")
    scale = SIDE_PX / max(opened.size)
    fitted = opened.resize(
        (round(opened.width * scale), round(opened.height * scale)), Image.Resampling.LANCZOS
    )
    draw = ImageDraw.Draw(fitted)
    for candidate in candidates:
        if candidate.box:
            box = [round(value * scale) for value in candidate.box]
            (left, right), (top, bottom) = sorted(box[::2]), sorted(box[1::2])  # as claimed, perhaps turned
            draw.rectangle(
                (left, top, right, bottom), outline=TARGET if candidate.is_target else OTHER, width=3
            )
    tile = Image.new("RGB", (SIDE_PX, SIDE_PX), (245, 245, 245))
    tile.paste(fitted, ((SIDE_PX - fitted.width) // 2, (SIDE_PX - fitted.height) // 2))
    return tile


def describe(sample: Sample) -> list[str]:
    """A sample in words, a line each."""
    lines = [sample.key, f"instruction: {sample.instruction}"]
    for number, candidates in enumerate(sample.subjects, start=1):
        shown = [
            f"{c.phrase or c.name} ({c.category}){'' if c.is_target else ', not to be shown'}"
            for c in candidates
        ] or ["not named"]
        lines.append(f"image {number}: {'; '.join(shown)}")
    found = sample.provenance
    what = ", ".join(word for word in (found.task, found.case) if word)
    lines.append(f"{what}; from {found.source}, licence {found.licence}")
    if found.parents:
        lines.append(f"made from {', '.join(found.parents)}")
    return lines
