"""A small HTTP server in a thread of this process, as the fakes that ship with the package are run."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from aiohttp import web


class ServerThread:
    """Serves an application between `with` and its end: `with ServerThread(app) as server: server.url`.

    Args:
        application: what is served.
        host: where; the loopback unless told otherwise.
        port: 0 for a free one.
        name: of the thread.
    """

    def __init__(
        self, application: web.Application, host: str = "127.0.0.1", port: int = 0, name: str = "server"
    ) -> None:
        self.url = ""
        self._application = application
        self._host, self._port = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    async def _start(self) -> None:
        self._runner = web.AppRunner(self._application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def serve_forever(self) -> None:
        """Serve until killed; the address is the first line of stdout."""
        try:
            self.__enter__()
        except OSError as error:
            sys.exit(f"--host {self._host} --port {self._port}: expected a free port, got: {error.strerror}")
        sys.stdout.write(json.dumps({"url": self.url}) + "\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self.__exit__()


def server_arguments(about: str, model: str, faults: Sequence[str]) -> argparse.ArgumentParser:
    """The command line that the fakes share."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="to listen at; only this machine reaches the default"
    )
    parser.add_argument("--port", type=_port, default=8000, help="0 for any; the first line tells it")
    parser.add_argument("--model", default=model, help="name it says that it serves")
    parser.add_argument("--latency-s", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--always", default="", choices=("", *faults), help="fault of every answer")
    parser.add_argument("--log", type=Path, help="file that gets a line a request")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port of 0 to 65535, got {text!r}")
    return int(text)
