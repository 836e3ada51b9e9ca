"""The renderer: exact boxes, no overlap, an editor that leaves the rest alone, the same bytes again."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from datagen.catalogue import load_catalogue
from datagen.encoding import decode_image, encode_jpeg
from datagen.layout import overlaps
from datagen.panoramas import load_panoramas
from datagen.renderer import Backdrop, Renderer, draw_backdrop, plain_backdrop, random_view, view_backdrop
from shards.stage import keyed_random

CATALOGUE = load_catalogue()
RENDERER = Renderer(CATALOGUE)
SUBJECTS = [subject for subject in CATALOGUE if subject.kind != "scene"]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_are_exactly_the_pixels_a_figure_covers(seed: int):
    random = keyed_random("boxes", seed)
    figures = RENDERER.place(random, random.sample(SUBJECTS, 1 + seed % 4))
    for figure in figures:
        changed = []
        for shade in (0, 255):  # a figure's own pixel may equal one background, not both
            flat = Backdrop(picture=Image.new("RGB", (512, 512), (shade,) * 3), light=0, shadow=0)
            drawn = np.asarray(RENDERER.draw(flat, [figure]))
            changed.append((drawn != shade).any(-1))
        rows, columns = np.nonzero(changed[0] | changed[1])
        assert figure.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("seed", range(12))
def test_placed_figures_do_not_overlap_and_lie_inside(seed: int):
    random = keyed_random("apart", seed)
    boxes = [f.box for f in RENDERER.place(random, random.sample(SUBJECTS, 4), ordered=seed % 2 == 0)]
    assert not any(overlaps(a, b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert all(min(box) >= 0 and max(box) <= 512 for box in boxes)
    if seed % 2 == 0:
        assert [box[0] for box in boxes] == sorted(box[0] for box in boxes)


def test_two_renderers_draw_the_same_bytes():
    def draw() -> bytes:
        random = keyed_random("same")
        view = random_view(random, "forest")
        figures = Renderer(CATALOGUE).place(random, SUBJECTS[:3])
        return encode_jpeg(Renderer(CATALOGUE).draw(view_backdrop(view), figures)).data

    assert draw() == draw()


def test_clean_figure_keeps_its_colours_within_what_a_colour_fault_needs():
    for number, panorama in enumerate(load_panoramas()):
        random = keyed_random("light", number)
        figure = RENDERER.place(random, [random.choice(SUBJECTS)])[0]
        backdrop = view_backdrop(random_view(random, panorama.name))
        drawn = np.asarray(RENDERER.draw(backdrop, [figure]).crop(figure.box), dtype=float)
        sprite = np.asarray(RENDERER.sprite(figure.subject, figure.pose), dtype=float)
        opaque = sprite[..., 3] >= 250
        assert np.abs(drawn - sprite[..., :3])[opaque].mean() < 25


@pytest.mark.parametrize("seed", range(8))
def test_editor_adds_beside_the_candidate_and_leaves_it_alone(seed: int):
    random = keyed_random("paste", seed)
    backdrop, _ = draw_backdrop(random, load_panoramas())
    image, figure = RENDERER.draw_reference(random, random.choice(SUBJECTS), backdrop)
    pasted = RENDERER.paste(random, image, random.choice(SUBJECTS), [figure.box])
    if pasted is None:
        return
    edited, added = pasted
    assert not overlaps(figure.box, added.box)
    before, after = (np.asarray(decode_image(i), dtype=float) for i in (image, edited))
    left, top, right, bottom = figure.box
    assert np.abs(before - after)[top:bottom, left:right].mean() < 3
    left, top, right, bottom = added.box
    assert np.abs(before - after)[top:bottom, left:right].mean() > 8


def test_editor_says_when_there_is_no_room():
    image = encode_jpeg(plain_backdrop(keyed_random(0)).picture)
    assert RENDERER.paste(keyed_random(0), image, SUBJECTS[0], [(10, 10, 500, 500)]) is None


def test_size_is_a_setting():
    small = Renderer(CATALOGUE, side_px=256)
    random = keyed_random("small")
    image, figure = small.draw_reference(random, SUBJECTS[5], plain_backdrop(random, 256))
    assert decode_image(image).size == (256, 256)
    assert max(figure.box) <= 256


def test_recoloured_figure_differs_only_inside_its_box():
    random = keyed_random("recolour")
    figure = RENDERER.place(random, [CATALOGUE.named("fox")[0]])[0]
    backdrop = plain_backdrop(random)
    other = replace(figure, pose=replace(figure.pose, hue_deg=200.0))
    one, two = (np.asarray(RENDERER.draw(backdrop, [f])) for f in (figure, other))
    rows, columns = np.nonzero((one != two).any(-1))
    left, top, right, bottom = figure.box
    assert left <= columns.min()
    assert columns.max() < right
    assert top <= rows.min()
    assert rows.max() < bottom
