"""Every kind of dirt has its reason; pixels change only where they must, with the origin's hash kept."""

import hashlib
import io

import pytest
from PIL import Image, ImageOps
from published_sets import picture

from datagen.cleaning import Cleaning
from datagen.mentions import named_references
from datagen.tokens import sample_tokens
from datagen.unusable import UnusableError

GOOD = [picture(1), picture(2)]


def encoded(image, form="PNG", **how):
    sink = io.BytesIO()
    image.save(sink, form, **how)
    return sink.getvalue()


def reason(images, instruction="a cat", **settings):
    with pytest.raises(UnusableError) as caught:
        Cleaning(**settings).clean_images(images, instruction)
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(100), "undecodable"),
        (picture(3)[:-500], "undecodable"),
        (picture(3, form="JPEG")[:-500], "undecodable"),
        (picture(3, (64, 300)), "too_small"),
        (picture(3, (1300, 300)), "extreme_aspect"),
        (encoded(Image.new("CMYK", (300, 300)), "JPEG"), "colour_mode"),
        (encoded(Image.new("I;16", (300, 300))), "colour_mode"),
        (picture(1), "reference_is_target"),
        (encoded(Image.open(io.BytesIO(picture(1))), compress_level=9), "reference_is_target"),
    ],
)
def test_what_is_wrong_with_a_picture_is_named(data, expected):
    assert reason([data, GOOD[0]]) == expected


def test_pictures_that_differ_in_their_palettes_alone_are_not_the_same():
    ramp = Image.new("P", (300, 300))
    ramp.putdata([n % 2 for n in range(300 * 300)])
    coloured = []
    for colours in ([0, 0, 0, 255, 255, 255], [200, 0, 0, 0, 0, 200]):
        ramp.putpalette(colours)
        coloured.append(encoded(ramp))
    assert len(Cleaning().clean_images(coloured, "a cat")) == 2
    assert reason([coloured[0], encoded(Image.open(io.BytesIO(coloured[0])), compress_level=1)]) == (
        "reference_is_target"
    )


def test_a_bomb_of_pixels_is_refused_before_it_is_decoded():
    assert reason([encoded(Image.new("1", (9000, 9000))), GOOD[0]]) == "too_many_pixels"


def test_clean_pictures_stay_the_bytes_they_were():
    cleaned = Cleaning().clean_images(GOOD, "a cat")
    assert [each.image.data for each in cleaned] == GOOD
    assert [each.origin for each in cleaned] == [None, None]


def test_a_wrong_extension_does_not_matter_the_bytes_do():
    (first, _) = Cleaning().clean_images([picture(3, form="WEBP"), GOOD[0]], "a cat")
    assert first.image.extension == "webp"


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.open(io.BytesIO(picture(4, (400, 300)))), "JPEG", exif=exif.tobytes())


def test_an_exif_orientation_becomes_upright_pixels_and_the_origin_is_kept():
    data = rotated()
    (first, _) = Cleaning().clean_images([data, GOOD[0]], "a cat")
    assert Image.open(io.BytesIO(first.image.data)).size == (300, 400)
    assert first.image.extension == "png"
    assert first.origin == {"sha256": hashlib.sha256(data).hexdigest(), "changed": "turned upright"}
    assert reason([data, GOOD[0]], rotated="reject") == "rotated"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"no TIFF at all", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x05\0\x12\x01"]
)
def test_exif_that_cannot_be_read_says_nothing(form, exif):
    data = encoded(Image.open(io.BytesIO(picture(4))), form, exif=b"Exif\0\0" + exif)
    (first, _) = Cleaning(rotated="reject").clean_images([data, GOOD[0]], "a cat")
    assert first.image.data == data


@pytest.mark.parametrize("value", range(1, 12))
def test_each_orientation_is_turned_as_pillow_turns_it_and_unknown_ones_are_left(value):
    exif = Image.Exif()
    exif[0x0112] = value
    data = encoded(Image.open(io.BytesIO(picture(4, (400, 300)))), "PNG", exif=exif.tobytes())
    (first, _) = Cleaning().clean_images([data, GOOD[0]], "a cat")
    if not 1 < value < 9:
        assert first.image.data == data
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert Image.open(io.BytesIO(first.image.data)).tobytes() == turned.tobytes()


def test_transparency_goes_by_the_rule():
    image = Image.open(io.BytesIO(picture(5))).convert("RGBA")
    image.putpixel((0, 0), (255, 0, 0, 0))
    data = encoded(image)
    (kept, _) = Cleaning().clean_images([data, GOOD[0]], "a cat")
    assert kept.image.data == data
    (white, _) = Cleaning(alpha="white").clean_images([data, GOOD[0]], "a cat")
    assert Image.open(io.BytesIO(white.image.data)).getpixel((0, 0)) == (255, 255, 255)
    assert reason([data, GOOD[0]], alpha="reject") == "transparent"
    opaque = encoded(Image.open(io.BytesIO(picture(5))).convert("RGBA"))
    (same, _) = Cleaning(alpha="white").clean_images([opaque, GOOD[0]], "a cat")
    assert same.image.data == opaque


def test_a_fifth_full_reference_never_fits_and_four_leave_540_tokens():
    full = (1024, 1024)
    assert 26_496 - sample_tokens([full] * 4, full, "") == 540
    assert sample_tokens([full] * 5, full, "") > 26_496
    images = [picture(10 + n, (1024, 1024), form="JPEG") for n in range(5)]
    assert len(Cleaning().clean_images(images, "word " * 300)) == 5
    assert reason(images, "word " * 400) == "too_many_tokens"


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("the dog of image 3", {3}),
        ("Photo 2 and the first picture", {1, 2}),
        ("<img><|image_1|></img> with <|image_2|>", {1, 2}),
        ("from the 4th image", {4}),
        ("in the second input image", {2}),
        ("image_2, image-3", {2, 3}),
        ("a photo 1999 by night, image 16:9", {16}),
        ("three images", set()),
        ("combine in a picture", set()),
        ("Combine images 1 and 3.", {1, 3}),
        ("Put photos 1, 2, and 4 on a shelf", {1, 2, 4}),
        ("Merge pictures 2-5 into one", {2, 5}),
        ("The hat of image 1 and 2 cats", {1}),
        ("From images 1 and 2 a poster of 30 x 40", {1, 2}),
        ("The third photo, the Fifth input image and the sixth reference", {3, 5, 6}),
        ("image 20 but not image 0, image 21 or the 35th picture", {20}),
    ],
)
def test_references_are_found_in_every_style(instruction, expected):
    assert named_references(instruction) == expected


def test_an_instruction_must_name_what_is_there():
    clean = Cleaning()
    clean.check_instruction("image 1 and image 2", 2)
    for words, expected in ((" ", "empty_instruction"), ("the hat of image 3", "names_missing_reference")):
        with pytest.raises(UnusableError) as caught:
            clean.check_instruction(words, 2)
        assert caught.value.reason == expected


def test_what_is_just_within_the_bounds_is_clean():
    images = [picture(n, size) for n, size in enumerate(((256, 300), (1024, 256), (256, 1024)), 20)]
    assert len(Cleaning(max_references=2).clean_images(images, "a cat")) == 3
    assert reason(images, max_references=1) == "too_many_references"
    most = sample_tokens([(256, 300), (1024, 256)], (256, 1024), "a cat")
    assert len(Cleaning(max_tokens=most).clean_images(images, "a cat")) == 3
    assert reason(images, max_tokens=most - 1) == "too_many_tokens"
    assert reason([picture(3, (300, 255)), GOOD[0]]) == "too_small"
    assert reason([picture(3, (1025, 256)), GOOD[0]]) == "extreme_aspect"


@pytest.mark.parametrize("licence", ["cc-by-4.0", "CC0-1.0", "mit", ""])
def test_a_licence_for_any_use_is_taken_whatever_the_recipe_says(licence):
    Cleaning(allow_non_commercial=False).check_licence(licence)


@pytest.mark.parametrize("licence", ["CC BY-NC-ND 4.0", "cc-by-nc-4.0", "research only", "Non-Commercial"])
def test_a_non_commercial_licence_is_refused_where_the_recipe_says_so(licence):
    Cleaning().check_licence(licence)
    with pytest.raises(UnusableError):
        Cleaning(allow_non_commercial=False).check_licence(licence)


def test_a_set_under_a_licence_that_is_forbidden_is_an_error_before_it_is_read(tmp_path):
    from datagen.importers.jsonl import JsonlSettings
    from datagen.importers.source import SourceError

    (tmp_path / "x.jsonl").write_text("{}")
    settings = JsonlSettings(
        path=str(tmp_path), licence="cc-by-nc-4.0", clean={"allow_non_commercial": False}
    )
    with pytest.raises(SourceError, match="leave the set out"):
        list(settings.plan())
