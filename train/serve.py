"""What `bakery serve` calls: a checkpoint behind the images API. Importing it imports no torch."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiohttp import web

from train.bridge_config import BridgeConfig
from train.config import ConfigError, ModelConfig
from train.config_files import read_config
from train.drawing_queue import DrawingQueue, Paint
from train.guidance import SamplerConfig
from train.images_server import ImagesServer
from train.main import checkpoint_bridge, open_studio, with_vit_px
from train.order import Reception

SHUTDOWN_S = 8.0  # for the step that is being made; shards/guard.py kills after 10


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What is served, and where.

    Attributes:
        checkpoint: a model directory.
        host, port: to listen at; port 0 is any that is free.
        label: first half of the model's name; the directory's unless given.
        steps: where a request says none.
        uses_bridge: apply the checkpoint's bridge to every picture.
        vit_px: longest side of references for the ViT; None: as in training. The released inference has 980.
        device: cpu, cuda or auto.
        cpu_threads: that multiply where the device is a CPU.
        places: pictures waiting and drawn; who comes then is told to come again.
    """

    checkpoint: Path
    host: str = "127.0.0.1"
    port: int = 8000
    label: str = ""
    steps: int = 50
    uses_bridge: bool = False
    vit_px: int | None = None
    device: str = "auto"
    cpu_threads: int = 1
    places: int = 16

    def config(self) -> ModelConfig:
        """The model's configuration, as it is drawn with."""
        return with_vit_px(read_config(self.checkpoint), self.vit_px)

    def bridge(self, config: ModelConfig) -> BridgeConfig | None:
        """The checkpoint's bridge, where it is applied.

        Raises:
            ConfigError: the model is too small for it.
        """
        found = checkpoint_bridge(self.checkpoint) if self.uses_bridge else None
        if found and (problems := found.problems(config.language)):
            raise ConfigError("\n".join(problems))
        return found

    def name(self) -> str:
        """The name that the model is served under: see `train.model_name`."""
        from train.model_name import model_name

        config = self.config()
        return model_name(self.checkpoint, config, self.bridge(config), label=self.label)

    def sampler(self) -> SamplerConfig:
        """What a request does not say.

        Raises:
            ConfigError: it cannot be sampled.
        """
        found = SamplerConfig(steps=self.steps, uses_bridge=self.uses_bridge)
        if found.problems():
            raise ConfigError("\n".join(found.problems()))
        return found


def main_serve(serving: Serving, say: Callable[[str], None] | None = None) -> int:
    """Serve until told to end; the exit status. The port is tried before the weights are read.

    Raises:
        ConfigError: the directory is no model, a setting cannot be, or the address cannot be listened at.
    """
    from train.parallel import kind_of

    say, device = say or _say, kind_of(serving.device)
    config, sampler = serving.config(), serving.sampler()
    bridge = serving.bridge(config)
    with _bound(serving.host, serving.port) as door:
        if not _is_loopback(serving.host):
            say(f"warning: --host {serving.host}: other machines reach it, and there is no key: all may draw")
        name = serving.name()
        say(f"loading {name}")
        from train.painter import Painter

        studio = open_studio(serving.checkpoint, device, serving.vit_px)
        painter = Painter(studio=studio, bridge=bridge, cpu_threads=serving.cpu_threads)
        reception = Reception(model=name, rule=config.vae_resize, sampler=sampler)
        return asyncio.run(_serve(reception, painter, serving.places, door, say))


async def _serve(
    reception: Reception, paint: Paint, places: int, door: socket.socket, say: Callable[[str], None]
) -> int:
    queue = DrawingQueue(paint, places)
    server = ImagesServer(reception, queue, say)
    # Cancelled: who hangs up gives its place free.
    runner = web.AppRunner(
        server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S
    )
    host, port = door.getsockname()[:2]
    await runner.setup()
    try:
        await web.SockSite(runner, door).start()
    except OSError as error:  # two that load at the same time both have the address until one listens
        await runner.cleanup()
        raise _untakeable(host, port, error) from error
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    say(f"serving {reception.model} at http://{f'[{host}]' if ':' in host else host}:{port}")
    await server.is_over.wait()
    queue.close()
    await runner.cleanup()
    say("ended")
    return server.status


def _bound(host: str, port: int) -> socket.socket:
    """A socket at an address; it listens once the model is loaded, and refuses who asks before."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = socket.socket(family, kind, protocol)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
        except OSError:
            door.close()
            raise
    except OSError as error:
        raise _untakeable(host, port, error) from error
    return door


def _untakeable(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"--host {host} --port {port}: expected an address to listen at, got: {error.strerror}"
    )


def _is_loopback(host: str) -> bool:
    """
    >>> [_is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "node-7")]
    [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _say(line: str) -> None:
    sys.stderr.write(f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z} {line}\n")
    sys.stderr.flush()
