"""Base samples that the fakes understand: flat references, the target their columns side by side."""

import io
from collections import Counter

from PIL import Image

from datagen.fake_images_server import compose
from shards.sample import Candidate, EncodedImage, Provenance, Sample
from shards.stage import IndexRow, Reject

NAMES = {
    "character": ["chef", "pirate", "nurse", "wizard", "knight"],
    "object": ["teapot", "guitar", "lantern", "suitcase", "clock"],
    "scene": ["beach"] * 5,
}
CASES = [
    ("character", "character"),
    ("object", "object"),
    ("character", "object"),
    ("character", "scene"),
    ("object", "scene"),
    ("character", "character", "object"),
    ("object", "character", "object"),
]


def flat(number):
    """A reference: two halves of colours of its own."""
    shown = Image.new("RGB", (96, 96), (37 * number % 256, 91 * number % 256, 53 * number % 256))
    shown.paste((199 * number % 256, 17 * number % 256, 120), (0, 48, 96, 96))
    file = io.BytesIO()
    shown.save(file, "png")
    return EncodedImage(file.getvalue(), "png")


def parent(number, **changes):
    kinds = CASES[number % len(CASES)]
    names = [NAMES[kind][n] for n, kind in enumerate(kinds)]
    images = [flat(7 * number + n + 1) for n in range(len(kinds))]
    told = " and ".join(f"the {name} from image {n}" for n, name in enumerate(names, start=1))
    fields = {
        "key": f"input-{number:04d}",
        "instruction": f"Put {told} together in one picture.",
        "references": tuple(images),
        "target": EncodedImage(compose([image.data for image in images], (96 * len(kinds), 96)), "png"),
        "subjects": tuple(
            (Candidate(name=name, category=kind, phrase=f"the {name}"),)
            for name, kind in zip(names, kinds, strict=True)
        ),
        "provenance": Provenance(
            source="made", licence="CC0-1.0", task="composition_multi", case="+".join(kinds)
        ),
    }
    return Sample(**(fields | changes))


def row(number, sample):
    made = sample.provenance
    return IndexRow(
        key=sample.key,
        task=made.task,
        case=made.case,
        source=made.source,
        licence=made.licence,
        references=len(sample.references),
        directory=0,
        shard=0,
        row=number,
    )


PARENTS = {sample.key: sample for sample in map(parent, range(42))}
ROWS = [row(number, sample) for number, sample in enumerate(PARENTS.values())]


def samples_of(outcomes, method=None):
    return [s for w, s in outcomes if isinstance(s, Sample) and method in (None, w.spec["method"])]


def reasons_of(outcomes):
    return Counter(o.reason for _, o in outcomes if isinstance(o, Reject))
