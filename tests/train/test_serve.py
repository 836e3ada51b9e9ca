"""A checkpoint served for real: a process as a recipe starts it, asked by what asks any images server."""

import asyncio
import base64
import io
import json
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from PIL import Image

from command_line import bakery
from datagen.generators import Picture, PictureRequest
from datagen.images_api import ImagesApiConfig, picture_body
from recipes.servers import ServerSettings
from shards.http_client import EndpointError, JsonClient, RequestError
from shards.ledger import Ledger
from shards.sample import EncodedImage
from shards.served_model import WrongModelError
from shards.server import ServerProcess
from shards.storage import Storage
from tiny_checkpoint import write_checkpoint
from train.bridge_config import BridgeConfig
from train.config import ConfigError
from train.config_files import read_config
from train.main import main_generate, open_studio
from train.model_name import model_name
from train.order import OrderError, Reception, TooLargeError
from train.painter import Painter
from train.serve import Serving, main_serve
from train.weights import WeightsError

STEPS = 3
SIZE = (96, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model that draws, with a bridge of its own."""
    path = tmp_path_factory.mktemp("served") / "stage" / "model"
    write_checkpoint(path)
    (path / "bakery.json").write_text(
        json.dumps(
            json.loads((path / "bakery.json").read_text())
            | {"bridge": {"relevance_layer": 0, "first_layer": 1, "last_layer": 2}}
        )
    )
    return path


def start(checkpoint, *options):
    """As `resources` of a recipe start it."""
    program = (sys.executable, "-m", "recipes.cli", "serve", str(checkpoint))
    settings = ServerSettings(
        command=(*program, "--host", "{host}", "--port", "{port}"),
        args=("--device", "cpu", *options),
        gpus=0,
        start_s=60,
    )
    return ServerProcess(settings.spec("ours", "unused"), "127.0.0.1")


@pytest.fixture(scope="module")
def server(checkpoint):
    process = start(checkpoint)
    yield process
    process.close()


@pytest.fixture
def api(server, checkpoint, tmp_path):
    """Settings of a generator at the server."""

    def config(**changes):
        known = {
            "model": Serving(checkpoint=checkpoint).name(),
            "revision": "r",
            "endpoints": (server.url,),
            "steps": STEPS,
            "probe_px": (96, 48),
            "outage_s": 1,
        }
        return ImagesApiConfig(**(known | changes))

    return config


def draw(config, requests, folder):
    generator = config.build(Ledger(Storage(str(folder))))
    try:
        return generator.draw(requests)
    finally:
        generator.close()


def picture(colour, kind="PNG", **options):
    file = io.BytesIO()
    Image.linear_gradient("L").resize((48, 64)).convert("RGB").point(lambda v: v // 2 + colour).save(
        file, kind, **options
    )
    return EncodedImage(file.getvalue(), {"PNG": "png", "JPEG": "jpg"}[kind])


TURNED = Image.Exif()
TURNED[0x0112] = 6
PLAIN = PictureRequest(prompt="A fox on a hill", size_px=SIZE, seed=5)
BOTH = PictureRequest(
    prompt="Both at the sea, é",
    references=(picture(20), picture(90, "JPEG", exif=TURNED)),
    size_px=SIZE,
    seed=2**31 - 1,
)


def generated(checkpoint, request, folder):
    """What `bakery generate` writes."""
    paths = []
    for number, image in enumerate(request.references):
        paths.append(folder / f"{number}.{image.extension}")
        paths[-1].write_bytes(image.data)
    into = main_generate(
        checkpoint,
        paths,
        request.prompt,
        folder / "drawn.png",
        size=request.size_px,
        seed=request.seed,
        steps=STEPS,
        device="cpu",
    )
    return into.read_bytes()


def test_the_probe_admits_it_and_a_picture_is_what_generate_draws(api, checkpoint, tmp_path):
    drawn = draw(api(), [BOTH, PLAIN], tmp_path / "ledger")
    assert all(isinstance(each, Picture) for each in drawn)
    for each, request in zip(drawn, (BOTH, PLAIN), strict=True):
        assert each.image.data == generated(checkpoint, request, tmp_path)


def test_two_clients_at_once_get_the_bytes_that_each_gets_alone(api, server, checkpoint, tmp_path):
    requests = [BOTH, replace(PLAIN, seed=9), replace(BOTH, seed=1), PLAIN]
    expected = [generated(checkpoint, request, tmp_path) for request in requests[:2]]

    def one(order):
        client = []

        async def ask():
            http = JsonClient(30)
            for request in order:
                path, body = picture_body(request, request.seed, api())
                client.append((await http.ask(server.url, path, body))["data"][0]["b64_json"])
            await http.close()

        asyncio.run(ask())
        return client

    with ThreadPoolExecutor(2) as pool:
        forth, back = pool.map(one, (requests, requests[::-1]))
    assert forth == back[::-1]
    assert len(set(forth)) == 4
    assert [base64.b64decode(each) for each in forth[:2]] == expected


def test_a_picture_that_nobody_waits_for_is_not_drawn_to_its_end(api, server, tmp_path):
    async def ask_and_hang_up():
        http = JsonClient(0.3)
        path, body = picture_body(BOTH, 1, api(steps=1000))
        with pytest.raises(RequestError, match="no answer"):
            await http.ask(server.url, path, body)
        await http.close()

    asyncio.run(ask_and_hang_up())
    draw(api(), [replace(PLAIN, seed=77)], tmp_path / "ledger")
    lines = [line for line in server.log.read_text().splitlines() if " 1000 steps" in line]
    assert [line.rpartition(":")[2][:13] for line in lines] == [" nobody waits"]


def test_pictures_of_other_weights_are_never_taken_for_these(api, server, checkpoint, tmp_path):
    other = checkpoint.parent.parent / "other" / "model"
    other.mkdir(parents=True)
    for path in checkpoint.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert Serving(checkpoint=other, label="stage").name() == Serving(checkpoint=checkpoint).name()
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (other / "model.safetensors").write_bytes(data)
    name = Serving(checkpoint=other, label="stage").name()
    assert name.partition("-")[0] == "stage"
    with pytest.raises(WrongModelError, match=f"expected a server of '{name}', got one of stage-"):
        draw(api(model=name), [PLAIN], tmp_path / "ledger")


def test_the_name_follows_from_all_that_decides_a_picture(checkpoint):
    config = read_config(checkpoint)
    larger = replace(config, vit_resize=replace(config.vit_resize, max_px=98))
    names = {
        model_name(checkpoint, config),
        model_name(checkpoint, larger),
        model_name(checkpoint, config, BridgeConfig()),
        model_name(checkpoint, config, BridgeConfig(threshold=0.5)),
    }
    assert len(names) == 4
    assert {name[:6] for name in names} == {"stage-"}
    assert {len(name) for name in names} == {len("stage-01234567")}
    with pytest.raises(ConfigError, match="--name: expected letters, digits"):
        model_name(checkpoint, config, label="a b")


def test_the_name_is_shown_without_loading_weights(checkpoint, tmp_path):
    done = bakery(tmp_path, "serve", str(checkpoint), "--show-name", "--name", "scone", "--bridge")
    assert done.stdout == Serving(checkpoint=checkpoint, label="scone", uses_bridge=True).name() + "\n"
    assert done.stderr == ""


def test_a_probe_of_a_size_that_the_model_does_not_draw_says_which_it_draws(api, tmp_path):
    with pytest.raises(EndpointError, match=r"got '512x256'; the nearest is 96x48.*probe_px sets a size"):
        draw(api(probe_px=(512, 256)), [PLAIN], tmp_path / "ledger")


def test_told_to_end_while_drawing_it_ends_at_once_and_well(checkpoint):
    server = start(checkpoint, "--name", "ending", "--places", "1")
    model = Serving(checkpoint=checkpoint, label="ending").name()

    async def ask(request, steps):
        http = JsonClient(30)
        try:
            path, body = picture_body(request, 1, ImagesApiConfig(model=model, revision="r", steps=steps))
            return str(await http.ask(server.url, path, body))
        except RequestError as error:
            return str(error)
        finally:
            await http.close()

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(asyncio.run, ask(BOTH, 1000))
        while "HTTP 429" not in asyncio.run(ask(replace(PLAIN, size_px=(1, 1)), STEPS)):
            assert not asked.done()
            time.sleep(0.05)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 8
        assert "HTTP 503" in asked.result(30)
    assert server.process.returncode == 0
    log = server.log.read_text().splitlines()
    assert [line.split(" ", 1)[1].split()[0] for line in log] == ["loading", "serving", "ended"]
    assert BOTH.prompt not in server.log.read_text()


def test_an_address_that_is_taken_is_told_before_the_weights_are_read(server, checkpoint, tmp_path):
    port = int(server.url.rpartition(":")[2])
    empty = tmp_path / "model"
    empty.mkdir()
    for name in ("llm_config.json", "vit_config.json", "bakery.json"):
        (empty / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(ConfigError, match=rf"--port {port}: expected an address to listen at, got: Address"):
        main_serve(Serving(checkpoint=empty, port=port, device="cpu"), lambda line: None)
    said = []
    with pytest.raises(WeightsError):
        main_serve(Serving(checkpoint=empty, host="0.0.0.0", port=0, device="cpu"), said.append)
    assert said == ["warning: --host 0.0.0.0: other machines reach it, and there is no key: all may draw"]


def test_of_two_that_load_for_one_address_the_later_is_told(checkpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    taken = socket.socket()

    def listen_first(line):
        if line.startswith("loading"):
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()

    with taken, pytest.raises(ConfigError, match=rf"--port {port}: expected an address .*, got: Address"):
        main_serve(Serving(checkpoint=checkpoint, port=port, device="cpu"), listen_first)


def test_a_bridge_that_the_model_is_too_small_for_is_refused(checkpoint, tmp_path):
    small = tmp_path / "model"
    small.mkdir()
    for name in ("llm_config.json", "vit_config.json"):
        (small / name).write_bytes((checkpoint / name).read_bytes())
    extra = json.loads((checkpoint / "bakery.json").read_text())
    (small / "bakery.json").write_text(json.dumps({"model": extra["model"]}))
    with pytest.raises(ConfigError, match=r"bridge: expected .* last_layer < 4 layers"):
        Serving(checkpoint=small, uses_bridge=True).name()


@pytest.fixture(scope="module")
def painter(checkpoint):
    return Painter(studio=open_studio(checkpoint, "cpu"), bridge=None, cpu_threads=1)


@pytest.fixture(scope="module")
def order(checkpoint):
    """An order of these words and pictures."""
    served = Serving(checkpoint=checkpoint, steps=STEPS)
    reception = Reception(model="m", rule=served.config().vae_resize, sampler=served.sampler())

    def make(prompt, *references, **fields):
        return reception.order({"prompt": prompt, "size": "96x64", **fields}, references)

    return make


def nothing():
    return None


def test_a_damaged_reference_and_too_long_a_prompt_are_the_clients_fault(painter, order):
    whole = picture(20).data
    with pytest.raises(OrderError, match=r"image 2: expected a whole image, got one that breaks off"):
        painter(order("x", whole, whole[:-40]), nothing)
    with pytest.raises(OrderError, match="prompt: expected at most 1024 positions, got 1025"):
        painter(order("x" * 1020, whole), nothing)
    painter(order("x" * 1019, whole), nothing)


def test_a_device_without_memory_for_it_says_so(painter, order):
    def full():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TooLargeError, match=r"size: .*, got 96x64 with 1 references"):
        painter(order("x", picture(20).data), full)


def test_each_format_is_written_and_lossless_ones_hold_the_same_picture(painter, order):
    made = {}
    for form in ("png", "jpeg", "webp"):
        data = painter(order("x", picture(20).data, output_format=form), nothing)
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == form.upper()
            made[form] = image.convert("RGB").tobytes()
    assert made["png"] == made["webp"] != made["jpeg"]


def test_guidance_and_bridge_change_the_picture(painter, order, checkpoint):
    reference = picture(20).data
    plain = painter(order("x", reference), nothing)
    for changes in (
        {"guidance_scale": 1},
        {"image_guidance_scale": 1},
        {"num_inference_steps": 4},
        {"seed": 1},
    ):
        assert painter(order("x", reference, **changes), nothing) != plain, changes
    bridged = replace(
        painter, bridge=BridgeConfig(relevance_layer=0, first_layer=1, last_layer=2, threshold=0.5)
    )
    asked = order("x", reference)
    asked = replace(asked, sampler=replace(asked.sampler, uses_bridge=True))
    assert bridged(asked, nothing) != plain
