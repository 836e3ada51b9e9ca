"""A small HTTP server in a thread of this process, as the fakes that ship with the package are run."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
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
        with self:
            sys.stdout.write(json.dumps({"url": self.url}) + "\n")
            sys.stdout.flush()
            threading.Event().wait()
