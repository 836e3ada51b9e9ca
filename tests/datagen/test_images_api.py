"""The images API against a fake server: what is sent, what is paid once, and what each fault ends in."""

import hashlib
import io
import time
from dataclasses import replace

import pytest
from PIL import Image
from pydantic import ValidationError

from datagen import images_probe
from datagen.diffusers_engine import DiffusersConfig
from datagen.fake_images_server import MODEL
from datagen.generators import Picture, PictureRequest
from datagen.images_api import ImagesApiConfig
from datagen.picture_check import check_usable, is_same_picture
from shards.http_client import EndpointError, EndpointsDownError
from shards.image import ImageError, check_image
from shards.ledger import Ledger
from shards.served_model import WrongModelError
from shards.stage import Reject
from tiny_samples import picture

PLAIN = PictureRequest(prompt="an old sailor", size_px=(96, 64), seed=7)
EDIT = replace(PLAIN, prompt="both of them", references=(picture(1), picture(2)))


def numbered(count):
    return [replace(PLAIN, seed=seed) for seed in range(count)]


def test_a_picture_comes_with_all_that_made_it(serve, draw):
    (drawn,), _ = draw([serve()], [PLAIN], steps=8, server_flags={"dtype": "bfloat16"})
    assert check_image(drawn.image).width == 96
    made_by = drawn.made_by
    assert made_by["model"] == MODEL
    assert made_by["revision"] == "r1"
    assert made_by["steps"] == 8
    assert made_by["server_flags"] == {"dtype": "bfloat16"}
    assert made_by["seed"] == 7
    assert made_by["prompt"] == "an old sailor"
    assert made_by["refused"] == []
    assert not {"endpoints", "timeout_s"} & set(made_by)


def test_references_are_sent_as_they_are_in_order_beside_an_explicit_seed(serve, draw):
    server = serve()
    draw([server], [EDIT], true_cfg_scale=4.0, negative_prompt=" ")
    (asked,) = server.asked
    assert asked.path == "edits"
    assert asked.references == [hashlib.sha256(image.data).hexdigest() for image in EDIT.references]
    assert asked.fields["seed"] == "7"
    assert asked.fields["size"] == "96x64"
    assert asked.fields["true_cfg_scale"] == "4.0"
    assert asked.fields["negative_prompt"] == " "
    assert "guidance_scale" not in asked.fields


@pytest.mark.parametrize("config", [ImagesApiConfig, DiffusersConfig])
def test_a_true_guidance_that_would_be_ignored_without_a_word_is_refused(config):
    with pytest.raises(
        ValidationError, match='true_cfg_scale: expected a negative_prompt beside it, " " will do'
    ):
        config(model="m", revision="r", true_cfg_scale=4)
    config(model="m", revision="r", true_cfg_scale=1)
    config(model="m", revision="r", true_cfg_scale=4, negative_prompt=" ")


def test_a_kill_loses_no_more_than_is_in_flight_however_slow_the_disk(serve, draw, monkeypatch):
    server, kept, unkept = serve(), [], []
    commit = Ledger.commit

    def slow(ledger, replies):
        time.sleep(0.1)
        unkept.append(len(server.asked) - len(kept))
        commit(ledger, replies)
        kept.extend(replies)

    monkeypatch.setattr(Ledger, "commit", slow)
    draw([server], numbered(12), in_flight=2)
    assert len(kept) == 12
    assert max(unkept) == 2


def test_pictures_come_in_the_order_of_requests_from_all_endpoints(serve, draw):
    servers = [serve(latency_s=0.05), serve(latency_s=0.05)]
    drawn, counts = draw(servers, numbered(12), in_flight=2)
    assert [p.made_by["seed"] for p in drawn] == list(range(12))
    assert all(server.asked for server in servers)
    assert counts["requests"] == 12


def test_what_is_paid_for_needs_no_server(serve, draw):
    first, _ = draw([serve()], [PLAIN, EDIT])
    again, counts = draw(["http://127.0.0.1:9"], [EDIT, PLAIN])
    assert again == first[::-1]
    assert "requests" not in counts


def test_equal_requests_are_asked_once(serve, draw):
    server = serve()
    (one, two), _ = draw([server], [PLAIN, PLAIN])
    assert one == two
    assert len(server.asked) == 1


def test_another_revision_is_another_picture_and_more_tries_are_not(serve, draw):
    server = serve()
    draw([server], [PLAIN])
    draw([server], [PLAIN], seeds=5)
    assert len(server.asked) == 1
    draw([server], [PLAIN], revision="r2")
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("black", "black"),
        ("wrong_size", "wrong_size"),
        ("truncated", "undecodable"),
        ("unchanged", "unchanged"),
    ],
)
def test_a_picture_of_no_use_is_paid_once_and_drawn_again_with_another_seed(serve, draw, fault, reason):
    server = serve(script=[fault])
    (drawn,), counts = draw([server], [EDIT])
    assert drawn.made_by["refused"] == [{"seed": 7, "reason": reason}]
    assert drawn.made_by["seed"] != 7
    assert counts[f"unusable: {reason}"] == 1
    assert draw(["http://127.0.0.1:9"], [EDIT])[0] == [drawn]
    assert len(server.asked) == 2


def test_seeds_are_bounded_and_the_reject_says_what_came(serve, draw):
    server = serve(by_words={"both": "black"})
    (rejected, fine), _ = draw([server], [EDIT, PLAIN])
    assert isinstance(rejected, Reject)
    assert rejected.reason == "unusable_picture"
    assert "3 seeds, last black" in rejected.detail
    assert isinstance(fine, Picture)
    assert len({asked.fields["seed"] for asked in server.asked if asked.path == "edits"}) == 3


@pytest.mark.parametrize("fault", ["500", "garbage", "429"])
def test_what_a_server_fails_once_is_asked_again(serve, draw, fault):
    (drawn,), counts = draw([serve(script=[fault])], [PLAIN])
    assert drawn.made_by["seed"] == 7
    assert counts["retries"] == 1


@pytest.mark.parametrize(("fault", "reason"), [("400", "http_400"), ("no_picture", "no_picture")])
def test_a_refused_picture_is_a_reject_with_the_reason_and_not_paid(serve, draw, fault, reason):
    server = serve(script=[fault])
    (rejected,), counts = draw([server], [PLAIN])
    assert isinstance(rejected, Reject)
    assert rejected.reason == reason
    assert counts[f"error: {reason}"] == 1
    assert isinstance(draw([server], [PLAIN])[0][0], Picture)


def test_a_server_that_hangs_costs_one_timeout_not_the_run(serve, draw):
    (drawn,), _ = draw([serve(script=["hang"])], [PLAIN], timeout_s=0.3)
    assert isinstance(drawn, Picture)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("ignored_seed", images_probe.SeedIgnoredError),
        ("random_seed", images_probe.SeedNotRepeatedError),
        ("wrong_size", images_probe.SizeIgnoredError),
        ("black", images_probe.BlackPictureError),
        ("ignored_references", images_probe.ReferencesIgnoredError),
    ],
)
def test_a_server_that_ignores_what_it_is_sent_draws_nothing(serve, draw, fault, error):
    server = serve(always=fault)
    with pytest.raises(error, match=r"127\.0\.0\.1:\d+: expected .* got .*; "):
        draw([server], [PLAIN])
    assert not server.asked


def test_an_edit_model_is_probed_only_for_edits(serve, draw):
    server = serve()
    draw([server], [EDIT], does=("edit",))
    assert {asked.path for asked in server.images.asked} == {"edits"}


def test_the_probe_asks_for_a_size_that_the_model_draws(serve, draw, images_api):
    server = serve()
    draw([server], [PLAIN, EDIT], probe_px=(96, 48))
    assert sum(asked.fields["size"] == "96x48" for asked in server.images.asked) == 7
    assert images_api(server).computed() == images_api(server, probe_px=(96, 48)).computed()
    with pytest.raises(ValidationError, match=r"probe_px\n.*another width than height"):
        images_api(server, probe_px=(96, 96))


def test_a_probe_that_is_refused_says_what_it_asked_for(serve, draw):
    with pytest.raises(
        EndpointError, match=r"http_400: .*; the probe asks for 512x256: probe_px sets a size"
    ):
        draw([serve(always="400")], [PLAIN])


def test_another_model_is_refused_by_name(serve, draw):
    with pytest.raises(WrongModelError, match="expected a server of 'fake-images', got one of"):
        draw([serve(model="other")], [PLAIN])


def test_no_server_at_all_ends_the_step_and_says_so(draw):
    with pytest.raises(EndpointsDownError, match="start a server and run again"):
        draw(["http://127.0.0.1:9"], [PLAIN], outage_s=0.2)


def test_a_picture_in_the_ledger_is_not_drawn_again(serve, draw):
    server = serve(by_words={"stop": "random"})
    draw([server], numbered(3))
    server.images.behaviour.by_words = {}
    draw([server], numbered(6))
    requests = [asked.request for asked in server.asked]
    assert len(requests) == len(set(requests)) == 6


def test_a_reference_encoded_anew_is_still_the_same_picture():
    shown = Image.open(io.BytesIO(picture(3, side_px=96).data)).convert("RGB")
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=75)
    assert is_same_picture(shown, Image.open(buffer))
    changed = shown.copy()
    changed.paste("red", (10, 10, 30, 30))
    assert not is_same_picture(shown, changed)


def test_where_a_model_is_measured_a_reference_given_back_is_its_answer():
    given_back = replace(EDIT, size_px=(32, 32))
    with pytest.raises(ImageError, match="expected a new picture, got image 1 as it was sent"):
        check_usable(EDIT.references[0].data, given_back)
    assert check_usable(EDIT.references[0].data, replace(given_back, may_copy=True)) == EDIT.references[0]


def test_bytes_that_are_no_image_are_named():
    with pytest.raises(ImageError, match="expected a PNG, JPEG or WebP, got b'GIF89a'"):
        check_usable(b"GIF89a", PLAIN)
