"""The embedded, exact image generator: subjects placed in views of panoramas, with exact boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from random import Random

import numpy as np
from PIL import Image

from datagen.catalogue import Catalogue, Subject
from datagen.encoding import decode_image, encode_jpeg
from datagen.layout import Area, Box, arrange, arrange_in_order
from datagen.light import cast_shadow, match_light
from datagen.panoramas import Panorama, View, light_from, look
from datagen.sprites import Pose, make_sprite
from shards.sample import EncodedImage, Json

SIDE_PX = 512
TARGET_SHARES = {1: (0.42, 0.62), 2: (0.34, 0.46), 3: (0.27, 0.37), 4: (0.23, 0.31), 5: (0.19, 0.26)}
"""Longer side of a subject in the target, of the canvas, by how many stand there: as large as fits without
overlap in nine tries of ten."""
REFERENCE_SHARES = (0.32, 0.60)
REFERENCE_AREA = Area(left=0.03, right=0.97, top=0.05, base_low=0.70, base_high=0.92)
TARGET_AREA = Area()
PASTE_SHARES = (0.24, 0.56)
PLAIN_COLOURS = ("#ffffff", "#f6f4ef", "#eef2f6", "#f3eeee", "#edf3ec", "#f4f0f8", "#e9e9ea")
DEEP_COLOURS = ("#d9e4f2", "#f3e1cf", "#dfeadb", "#eadcec", "#d8d8de", "#f2dada", "#d5e8e8")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A subject as it stands in one picture.

    Attributes:
        subject: its id in the catalogue.
        pose: size, rotation, flip, colour.
        box: where it is, tight to its alpha.
    """

    subject: str
    pose: Pose
    box: Box

    def as_json(self) -> Mapping[str, Json]:
        """For a sample's origin or truth."""
        return {"subject": self.subject, "pose": asdict(self.pose), "box": list(self.box)}


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """What is behind the figures.

    Attributes:
        picture: square, RGB.
        light: where light comes from, -1 left to 1 right.
        shadow: how dark shadows are, 0 to 1.
    """

    picture: Image.Image
    light: float
    shadow: float = 1.0


def view_backdrop(view: View, side_px: int = SIDE_PX) -> Backdrop:
    """A view of a panorama, as a target or a scene reference shows it."""
    return Backdrop(picture=look(view, side_px), light=light_from(view))


def plain_backdrop(random: Random, side_px: int = SIDE_PX) -> Backdrop:
    """One light colour, as in a product picture."""
    colour = random.choice(PLAIN_COLOURS)
    return Backdrop(
        picture=Image.new("RGB", (side_px, side_px), colour), light=random.uniform(-1, 1), shadow=0.7
    )


def gradient_backdrop(random: Random, side_px: int = SIDE_PX) -> Backdrop:
    """A light spot on a soft colour, as a studio paper roll gives."""
    colour = np.array(Image.new("RGB", (1, 1), random.choice(DEEP_COLOURS)), dtype=np.float32)[0, 0]
    across, down = random.uniform(0.3, 0.7), random.uniform(0.3, 0.6)
    rows, columns = np.mgrid[0:side_px, 0:side_px].astype(np.float32) / side_px
    far = np.clip(np.hypot(columns - across, rows - down) / 0.8, 0, 1)[..., None]
    pixels = 252 * (1 - far) + colour * 0.92 * far
    return Backdrop(picture=Image.fromarray(pixels.astype(np.uint8)), light=0.5 - across, shadow=0.8)


def draw_backdrop(
    random: Random, panoramas: Sequence[Panorama], side_px: int = SIDE_PX
) -> tuple[Backdrop, Mapping[str, Json]]:
    """A reference's background in one of the styles of published sets, and what to record of it."""
    style = random.choices(("plain", "gradient", "scene"), (0.4, 0.25, 0.35))[0]
    if style == "plain":
        return plain_backdrop(random, side_px), {"style": style}
    if style == "gradient":
        return gradient_backdrop(random, side_px), {"style": style}
    view = random_view(random, random.choice(panoramas).name)
    return view_backdrop(view, side_px), {"style": style, "view": asdict(view)}


def random_view(random: Random, panorama: str) -> View:
    """A camera at eye height, looking slightly down, so that there is ground to stand on."""
    return View(
        panorama=panorama,
        yaw_deg=round(random.uniform(0, 360), 2),
        pitch_deg=round(random.uniform(-16, -6), 2),
    )


def turned_view(random: Random, view: View) -> View:
    """The same place, the camera turned by 6 to 16 degrees."""
    turn = random.choice((-1, 1)) * random.uniform(6, 16)
    return View(
        panorama=view.panorama,
        yaw_deg=round((view.yaw_deg + turn) % 360, 2),
        pitch_deg=round(view.pitch_deg + random.uniform(-2, 2), 2),
    )


class Renderer:
    """Draws subjects of one catalogue. Equal arguments give equal bytes."""

    def __init__(self, catalogue: Catalogue, side_px: int = SIDE_PX) -> None:
        self.catalogue = catalogue
        self.side_px = side_px
        self._sprites = lru_cache(maxsize=16)(self._make_sprite)  # placed first, drawn next: twice in a row

    def sprite(self, subject: str, pose: Pose) -> Image.Image:
        """The subject alone, RGBA, tight. Shared: not to be changed."""
        return self._sprites(subject, pose)

    def _make_sprite(self, subject: str, pose: Pose) -> Image.Image:
        return make_sprite(self.catalogue.picture(self.catalogue.by_id(subject)), pose)

    def random_pose(self, random: Random, shares: tuple[float, float], turn_deg: float = 12) -> Pose:
        """A pose whose longer side is a share of the canvas within `shares`."""
        return Pose(
            side_px=round(random.uniform(*shares) * self.side_px),
            rotation_deg=round(random.triangular(-turn_deg, turn_deg, 0), 1),
            is_flipped=random.random() < 0.3,
        )

    def place(
        self, random: Random, subjects: Sequence[Subject], *, ordered: bool = False, shrink: float = 1.0
    ) -> tuple[Figure, ...]:
        """Figures for a target, apart from each other; from left to right where `ordered`."""
        low, high = TARGET_SHARES[min(len(subjects), max(TARGET_SHARES))]
        poses = [self.random_pose(random, (low * shrink, high * shrink)) for _ in subjects]
        sizes = [self.sprite(s.id, pose).size for s, pose in zip(subjects, poses, strict=True)]
        find = arrange_in_order if ordered else arrange
        boxes = find(random, sizes, self.side_px, TARGET_AREA)
        if boxes is None:
            return self.place(random, subjects, ordered=ordered, shrink=shrink * 0.92)
        return tuple(
            Figure(subject=s.id, pose=pose, box=box)
            for s, pose, box in zip(subjects, poses, boxes, strict=True)
        )

    def draw(self, backdrop: Backdrop, figures: Sequence[Figure]) -> Image.Image:
        """All figures on the backdrop, the farthest (highest foot) first; shadows under all of them."""
        canvas = backdrop.picture.copy()
        drawn = [
            (f, self.sprite(f.subject, f.pose)) for f in sorted(figures, key=lambda f: (f.box[3], f.box))
        ]
        for figure, sprite in drawn:
            cast_shadow(canvas, sprite, figure.box, backdrop.light, backdrop.shadow)
        for figure, sprite in drawn:
            lit = match_light(sprite, backdrop.picture.crop(_around(figure.box, canvas.size)), backdrop.light)
            canvas.paste(lit, figure.box[:2], lit)
        return canvas

    def draw_reference(
        self, random: Random, subject: Subject, backdrop: Backdrop
    ) -> tuple[EncodedImage, Figure]:
        """A reference image: the subject alone, large, off centre as often as not."""
        pose = self.random_pose(random, REFERENCE_SHARES, turn_deg=8)
        size = self.sprite(subject.id, pose).size
        boxes = arrange(random, [size], self.side_px, REFERENCE_AREA)
        if boxes is None:
            raise AssertionError(f"{subject.id}: {size} fits no reference of {self.side_px} px")
        figure = Figure(subject=subject.id, pose=pose, box=boxes[0])
        return encode_jpeg(self.draw(backdrop, [figure])), figure

    def paste(
        self, random: Random, image: EncodedImage, subject: Subject, avoid: Sequence[Box]
    ) -> tuple[EncodedImage, Figure] | None:
        """The embedded editor: `image` with one more candidate that touches none of the boxes in `avoid`;
        None where there is no room. All else stays, but for the loss of a second JPEG encoding.

        Raises:
            ImageError: `image` is not an image.
        """
        picture = decode_image(image)
        side_px = min(picture.size)
        for share in np.linspace(random.triangular(*PASTE_SHARES, PASTE_SHARES[1]), PASTE_SHARES[0], 5):
            pose = Pose(side_px=round(share * side_px), rotation_deg=round(random.triangular(-8, 8, 0), 1))
            boxes = arrange(
                random, [self.sprite(subject.id, pose).size], side_px, REFERENCE_AREA, avoid=avoid, tries=60
            )
            if boxes:
                figure = Figure(subject=subject.id, pose=pose, box=boxes[0])
                backdrop = Backdrop(picture=picture, light=0, shadow=0.8)  # no shadow on its neighbours
                return encode_jpeg(self.draw(backdrop, [figure])), figure
        return None


def _around(box: Box, size: tuple[int, int]) -> Box:
    """`box` grown by half its size, within the canvas: the surroundings that light a figure."""
    grow_x, grow_y = (box[2] - box[0]) // 2, (box[3] - box[1]) // 2
    return (
        max(box[0] - grow_x, 0),
        max(box[1] - grow_y, 0),
        min(box[2] + grow_x, size[0]),
        min(box[3] + grow_y, size[1]),
    )
