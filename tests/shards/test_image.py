"""Images: what is accepted, and for each hostile one the reason it is refused for."""

import io
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fake_stage import fake_image, fake_sample
from shards.image import ImageError, ImageFacts, check_image, check_sample, image_facts
from shards.sample import EncodedImage, Sample


def encoded(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    extension = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}.get(form, "png")
    return EncodedImage(file.getvalue(), extension)


def picture(mode="RGB", side=32):
    return Image.linear_gradient("L").resize((side, side)).convert(mode)


def png(width, height, bits, colour, rows):
    """A PNG whose header says what we like."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return EncodedImage(b"\x89PNG\r\n\x1a\n" + body, "png")


def animated(form):
    return encoded(picture(), form, save_all=True, append_images=[picture().rotate(90)], duration=50)


WHOLE = {
    "jpeg": encoded(picture(), "JPEG"),
    "grey jpeg": encoded(picture("L"), "JPEG"),
    "png": encoded(picture(), "PNG"),
    "png with alpha": encoded(picture("RGBA"), "PNG"),
    "png with a palette": encoded(picture("P"), "PNG"),
    "webp": encoded(picture(), "WEBP"),
    "lossless webp": encoded(picture("RGBA"), "WEBP", lossless=True),
    "progressive jpeg": encoded(picture(), "JPEG", progressive=True),
}

MPO = encoded(picture(), "MPO", save_all=True, append_images=[picture()]).data

HOSTILE = {
    "zero bytes": (EncodedImage(b"", "jpg"), "empty"),
    "text named jpg": (EncodedImage(b"<html>not found</html>", "jpg"), "undecodable"),
    "png named jpg": (EncodedImage(WHOLE["png"].data, "jpg"), "wrong_type"),
    "telephone's jpeg named png": (EncodedImage(MPO, "png"), "wrong_type"),
    "gif named png": (encoded(picture(), "GIF"), "undecodable"),
    "tiff named png": (encoded(picture(), "TIFF"), "undecodable"),
    "cmyk": (encoded(picture("CMYK"), "JPEG"), "colour_mode"),
    "16-bit grey": (png(2, 2, 16, 0, bytes(10)), "colour_mode"),
    "16-bit colour": (png(2, 2, 16, 2, bytes(26)), "colour_mode"),
    "16-bit colour with alpha": (png(2, 2, 16, 6, bytes(34)), "colour_mode"),
    "one bit": (png(8, 2, 1, 0, bytes(4)), "colour_mode"),
    "animated png": (animated("PNG"), "animated"),
    "animated webp": (animated("WEBP"), "animated"),
    "100 megapixels": (png(10_000, 10_000, 8, 2, b""), "too_many_pixels"),
    "10 gigapixels": (png(100_000, 100_000, 8, 2, b""), "too_many_pixels"),
    "no pixels wide": (png(0, 10, 8, 2, b""), "undecodable"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_is_known_by_its_size(name):
    assert check_image(WHOLE[name]) == image_facts(WHOLE[name]) == ImageFacts(32, 32)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_is_refused_with_its_reason(name):
    image, reason = HOSTILE[name]
    with pytest.raises(ImageError) as found:
        check_image(image)
    assert found.value.reason == reason
    assert len(str(found.value)) < 300


@pytest.mark.parametrize("name", WHOLE)
def test_an_image_cut_off_anywhere_is_refused_or_decodes_whole(name):
    image = WHOLE[name]
    refused = 0
    for end in range(0, len(image.data), max(1, len(image.data) // 60)):
        try:
            assert check_image(EncodedImage(image.data[:end], image.extension)) == ImageFacts(32, 32)
        except ImageError as error:
            refused += 1
            assert error.reason in ("empty", "undecodable")
    assert refused >= 40


@settings(max_examples=300)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_damaged_bytes_are_an_image_or_an_image_error(name, data):
    bytes_ = bytearray(WHOLE[name].data)
    for place in data.draw(st.lists(st.integers(0, len(bytes_) - 1), min_size=1, max_size=6)):
        bytes_[place] = data.draw(st.integers(0, 255))
    try:
        check_image(EncodedImage(bytes(bytes_), WHOLE[name].extension))
    except ImageError as error:
        assert error.reason


def test_the_image_at_fault_is_named():
    sample = fake_sample(key="fox")
    broken = Sample(**(vars(sample) | {"target": EncodedImage(b"no", "png")}))
    with pytest.raises(ImageError, match=r"fox\.target: expected PNG"):
        check_sample(broken)


def test_a_sample_of_whole_images_is_known_by_their_sizes():
    assert check_sample(fake_sample(references=2, side_px=24)) == dict.fromkeys(
        ("ref0", "ref1", "target"), ImageFacts(24, 24)
    )


def test_a_jpeg_with_a_second_picture_as_telephones_write_it_is_a_jpeg():
    assert check_image(EncodedImage(MPO, "jpg")) == ImageFacts(32, 32)


def test_as_many_pixels_as_are_allowed_are_read_and_not_one_row_more():
    assert image_facts(png(8192, 8192, 8, 2, b"")) == ImageFacts(8192, 8192)
    with pytest.raises(ImageError, match="8192x8193"):
        image_facts(png(8192, 8193, 8, 2, b""))


def test_no_pixels_are_read_for_the_facts():
    whole = fake_image(0, "a", "target", 64)
    assert image_facts(EncodedImage(whole.data[:400], whole.extension)) == ImageFacts(64, 64)


FAULTS = """
import resource
import shards.image

def faults():
    began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [b"".join((bytes(400_000), b"x")) for _ in range(20)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began

print([faults() for _ in range(4)][-1])
"""


def test_pictures_that_are_let_go_leave_their_memory_to_the_next_ones():
    ended = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 200  # of 2,000 pages
