"""Orders: what of a request is understood, and what is told of the rest."""

import io
import random
import zlib

import pytest
from PIL import Image

from shards.image import MAX_PIXELS
from train.config import BAGEL_7B, TINY
from train.guidance import SamplerConfig
from train.order import OrderError, OtherModelError, Reception
from train.resize import resized_hw

BAGEL = Reception(model="bagel-01234567", rule=BAGEL_7B.vae_resize, sampler=SamplerConfig(steps=50))
SMALL = Reception(model="tiny-01234567", rule=TINY.vae_resize, sampler=SamplerConfig(steps=4))
SAYS = {"prompt": "A fox."}


def encoded(kind="PNG", size=(8, 8)):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, kind)
    return file.getvalue()


def bomb(width=60_000, height=60_000):
    """A PNG of a few bytes that says it is large."""
    data = bytearray(encoded())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_what_is_not_said_is_what_generate_draws():
    order = BAGEL.order(SAYS, [])
    assert (order.size, order.seed, order.format) == ((1024, 1024), 0, "png")
    assert order.sampler == SamplerConfig()


def test_words_of_a_form_and_numbers_of_json_say_the_same():
    said = {
        "model": "tiny-01234567",
        "prompt": "A fox.",
        "n": 1,
        "size": "96x64",
        "seed": 7,
        "num_inference_steps": 9,
        "guidance_scale": 3.5,
        "image_guidance_scale": 1.5,
        "output_format": "webp",
        "response_format": "b64_json",
    }
    order = SMALL.order(said, [encoded()])
    assert order == SMALL.order({name: str(value) for name, value in said.items()}, [encoded()])
    assert (order.size, order.seed, order.format) == ((96, 64), 7, "webp")
    assert order.sampler == SamplerConfig(steps=9, text_scale=3.5, image_scale=1.5)


def test_a_field_that_is_null_is_not_there():
    assert SMALL.order({**SAYS, "size": None, "seed": None, "mask": None}, []) == SMALL.order(SAYS, [])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("prompt", "", "prompt: expected String should have at least 1 character, got ''"),
        ("prompt", " \n", "prompt: expected what to draw, got"),
        ("prompt", "\ud800", "prompt: .*valid"),
        ("n", 2, "n: expected less than or equal to 1, got 2"),
        ("n", True, "n: expected no yes or no"),
        ("size", "auto", "size: expected pixels like 1024x768, got 'auto'"),
        ("size", "96x0", "size: expected pixels like 1024x768, got '96x0'"),
        ("size", "512x256", "size: expected one that the model draws, got '512x256'; the nearest is 96x48"),
        ("size", "65x64", "the nearest is 64x64"),
        ("seed", -1, "seed: expected greater than or equal to 0, got -1"),
        ("seed", "x", "seed: expected a valid integer, got 'x'"),
        ("seed", 2**63, "seed: expected less than"),
        ("num_inference_steps", 1, "num_inference_steps: expected greater than or equal to 2, got 1"),
        ("num_inference_steps", 10**9, "num_inference_steps: expected less than or equal to 1000"),
        ("guidance_scale", 0, "guidance_scale: expected greater than 0, got 0"),
        ("guidance_scale", "nan", "guidance_scale: expected a finite number, got 'nan'"),
        ("output_format", "gif", "output_format: expected 'png', 'jpeg' or 'webp', got 'gif'"),
        ("response_format", "url", "response_format: expected 'b64_json', got 'url'"),
        ("true_cfg_scale", 4, "true_cfg_scale: unknown"),
        ("negative_prompt", " ", "negative_prompt: unknown; known: .*prompt"),
        ("sed", 1, r"sed: unknown; did you mean 'seed'\?"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_with_what_was_expected(field, value, words):
    with pytest.raises(OrderError, match=words) as error:
        SMALL.order({**SAYS, field: value}, [])
    assert error.value.status == 400
    assert error.value.field == field


def test_all_faults_are_told_at_once():
    with pytest.raises(OrderError) as error:
        SMALL.order({"seed": "x", "sizes": "64x64"}, [])
    assert str(error.value).count("\n") == 2
    for words in ("prompt: expected a value, got none", "seed: ", "sizes: unknown; did you mean 'size'?"):
        assert words in str(error.value)


def test_another_model_is_not_found():
    with pytest.raises(OtherModelError, match="expected 'tiny-01234567', got 'tiny-76543210'") as error:
        SMALL.order({**SAYS, "model": "tiny-76543210"}, [])
    assert error.value.status == 404


def test_image_guidance_without_an_image_is_refused_not_left_out():
    with pytest.raises(OrderError, match="no reference image to hold to, got 2"):
        SMALL.order({**SAYS, "image_guidance_scale": 2}, [])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "image 2: expected a PNG, JPEG or WebP, got b''"),
        (encoded("BMP"), "image 2: expected a PNG, JPEG or WebP, got b'BM"),
        (bomb(), "image 2: expected at most .* pixels"),
    ],
)
def test_a_reference_that_is_no_picture_or_too_large_is_named(data, words):
    with pytest.raises(OrderError, match=words):
        SMALL.order(SAYS, [encoded(), data])


def test_references_are_bounded():
    with pytest.raises(OrderError, match="at most 8 pictures, got 9"):
        SMALL.order(SAYS, [encoded()] * 9)


def test_references_are_bounded_together_by_what_their_headers_say():
    side = int((MAX_PIXELS / 2) ** 0.5)
    assert len(SMALL.order(SAYS, [bomb(side, side)] * 2).references) == 2
    with pytest.raises(
        OrderError, match=r"image: expected at most 67,108,864 pixels in all, got .* in 3 pic"
    ):
        SMALL.order(SAYS, [bomb(side, side), encoded(), bomb(side, side + 3)])


@pytest.mark.parametrize("reception", [BAGEL, SMALL])
def test_the_size_that_a_refusal_names_is_drawn(reception):
    sizes = random.Random(3)
    for _ in range(300):
        width, height = sizes.randint(1, 3000), sizes.randint(1, 3000)
        nearest = resized_hw(width, height, reception.rule)
        order = reception.order({**SAYS, "size": f"{nearest[1]}x{nearest[0]}"}, [])
        assert order.size == nearest[::-1]
