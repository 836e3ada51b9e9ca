"""The embedded builders' bytes are what they were: a change of ours is told apart from one of the libraries.

`words` is all that a sample says, `pixels` all of its images. Both go through Pillow and numpy; `LIBRARIES`
is what those make of the same operations without our code. Where that is another, all are recorded anew;
where it is the same, our code makes other samples, and the step's VERSION is to be raised.
"""

import hashlib
import io
from functools import cache

import numpy as np
import PIL
import pytest
from PIL import Image, ImageDraw, ImageFilter

from composed_samples import row
from datagen.catalogue import ASSETS, ZippedPictures
from datagen.faults import FAULTS
from datagen.multi_candidate import MultiCandidateConfig
from datagen.multi_input import MultiInputConfig
from datagen.single_candidate import SingleCandidateConfig
from shards.ledger import Ledger
from shards.sample import Sample, sample_json
from shards.stage import Work
from shards.storage import Storage

LIBRARIES = "79ae1203783c6112dff45b8bc112908d5ae5dd3ad3483c12a2a4a1feb87e2428"
GOLDEN = {
    "single_candidate": {
        "words": "908edc7adb87bd85ebdfdff54c23b5545882cc6eea5fd4a4df35419339927e8d",
        "pixels": "3c5865db43444ec99e5aa2696f18e01025c7105c7f7966b6ae31fa3054783d13",
    },
    "multi_input": {
        "words": "e5c662488da8b4ca41d32ba9ebc17143a51e6c8cefda42d86e453053c409afac",
        "pixels": "e18354d29bbdbd0687b04a98c2a65bb2a55e678c8dd36cccfbe9a29f1f4921c0",
    },
    "swap": {
        "words": "74b87f76e9bce9369fcc97506f71c03f7ba803dfb6b3e00c722014c93df6ca77",
        "pixels": "8af6e82ee91b70231196a0b535cdf1675725c203b2be812e760ff1a91ffffc1a",
    },
    "add": {
        "words": "590825e317b612cb28d0eb4c0e541e3210d58901c21e898ddc824b52b6deaec1",
        "pixels": "4a5ad3e8672cd9fead02a3eb4b305b47ae5a24f5988b24c65a10b5384906a45d",
    },
}


@cache
def parents():
    config = SingleCandidateConfig(samples=24, seed=11, size_px=192)
    stage = config.build()
    return {planned.key: stage.make(Work(key=planned.key, spec=planned.spec)) for planned in config.plan()}


def rows():
    return [row(number, sample) for number, sample in enumerate(parents().values())]


def variants(**settings):
    return MultiCandidateConfig(samples=10, seed=2, **settings), rows()


@cache
def made(name):
    """What a builder makes of a small plan, rejects too."""
    single = SingleCandidateConfig(samples=16, size_px=128, seed=3, faults=dict.fromkeys(FAULTS, 1 / 16))
    config, of = {
        "single_candidate": lambda: (single, ()),
        "multi_input": lambda: (MultiInputConfig(samples=13, size_px=128, seed=4), ()),
        "swap": lambda: variants(swap=1, faults={"target_shows_distractor": 0.1, "two_candidates": 0.1}),
        "add": lambda: variants(swap=0, faults={"original_changed": 0.2, "wrong_category": 0.1}),
    }[name]()
    stage = config.build(Ledger(Storage("/nowhere")))
    works = [
        Work(key=p.key, spec=p.spec, parents=tuple(parents()[parent.key] for parent in p.parents))
        for p in config.plan(of)
    ]
    return stage(works)


def digests(outcomes):
    words, pixels = hashlib.sha256(), hashlib.sha256()
    for outcome in outcomes:
        if not isinstance(outcome, Sample):
            words.update(outcome.reason.encode())
            continue
        words.update(outcome.key.encode() + sample_json(outcome))
        for image in outcome.images.values():
            pixels.update(image.data)
    return {"words": words.hexdigest(), "pixels": pixels.hexdigest()}


@cache
def libraries():
    """A hash over what Pillow and numpy make of the operations that the renderer is built from."""
    found = hashlib.sha256()
    for file, archive in (("fluent/1f98a.webp", "subjects.zip"), ("park.webp", "panoramas.zip")):
        picture = Image.open(io.BytesIO(ZippedPictures(ASSETS / archive).read(file))).convert("RGBA")
        for how in (Image.Resampling.LANCZOS, Image.Resampling.BOX, Image.Resampling.BICUBIC):
            found.update(picture.resize((61, 47), how).tobytes())
        small = picture.resize((96, 96), Image.Resampling.BILINEAR)
        found.update(small.rotate(11.3, Image.Resampling.BICUBIC, expand=True).tobytes())
        mask = small.getchannel("A").transform((96, 96), Image.Transform.AFFINE, (1, 0.3, -9, 0, 1, 0))
        ImageDraw.Draw(mask).ellipse((8, 60, 71, 80), fill=255)
        mask = mask.filter(ImageFilter.GaussianBlur(2.7)).point(lambda value: value * 0.42)
        small.paste((18, 16, 22), (0, 0), mask)
        found.update(small.convert("RGB").convert("HSV").tobytes())
        sink = io.BytesIO()
        small.convert("RGB").save(sink, "jpeg", quality=92, subsampling=0)
        found.update(sink.getvalue() + Image.open(sink).convert("RGB").tobytes())
        found.update(arithmetic(np.asarray(small, dtype=np.float32)))
    return found.hexdigest()


def arithmetic(pixels):
    """Sums, powers and angles of numpy, rounded as pixels are."""
    rows, columns = np.mgrid[0:96, 0:96].astype(np.float32) / 96
    turned = np.arctan2(rows - 0.4, columns + 0.1) + np.hypot(rows, columns) * np.sin(columns)
    lit = pixels * (pixels.mean((0, 1)) / 150) ** 0.25 * (1 + turned[..., None] * 0.07)
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8).tobytes()


def whose_change():
    versions = f"Pillow {PIL.__version__}, numpy {np.__version__}"
    if libraries() == LIBRARIES:
        return f"our code makes other samples ({versions} do not): raise the step's VERSION, record it anew"
    return f"{versions} draw otherwise than those that the hashes were recorded with: record them all anew"


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("part", ["words", "pixels"])
def test_builders_make_what_they_made(name, part):
    assert digests(made(name))[part] == GOLDEN[name][part], f"{name}: {whose_change()}"


def test_libraries_draw_what_they_drew():
    assert libraries() == LIBRARIES, whose_change()
