"""Samples of a few bytes whose pictures all differ."""

import io

from PIL import Image

from shards.sample import Candidate, EncodedImage, Provenance, Sample


def picture(number, side_px=32, kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (side_px, side_px), (number % 256, number // 256, 90)).save(file, kind)
    return EncodedImage(file.getvalue(), {"PNG": "png", "JPEG": "jpg"}[kind])


def make_sample(number, references=2, **changes):
    fields = {
        "key": f"tiny-{number:04d}",
        "instruction": f"Put both in a garden, number {number}.",
        "references": tuple(picture(10 * number + place) for place in range(references)),
        "target": picture(10 * number + 9),
        "subjects": tuple((Candidate(name=f"thing {place}"),) for place in range(references)),
        "provenance": Provenance(source="tiny", licence="CC0-1.0", task="composition_multi"),
    }
    return Sample(**(fields | changes))
