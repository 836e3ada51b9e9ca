"""The queue before a device: one picture at a time, first come first drawn, places bounded."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from train.order import Order

LONGEST_RETRY_S = 120  # more a client would not wait at once, see shards/http_client.py


class QueueFullError(RuntimeError):
    """All places are taken.

    Attributes:
        retry_after_s: when one may be free.
    """

    def __init__(self, places: int, retry_after_s: int) -> None:
        super().__init__(f"expected at most {places} pictures at once, got another; ask again later")
        self.retry_after_s = retry_after_s


class ClosingError(RuntimeError):
    """The server ends; another one may draw it."""

    def __init__(self) -> None:
        super().__init__("expected a running server, got one that ends")


class DeviceLostError(RuntimeError):
    """The device takes no more work from this process; another process may have it."""


class AbandonedError(RuntimeError):
    """Nobody waits for the picture any more. Raised inside the drawing, between two steps."""


Watch = Callable[[], None]
Paint = Callable[[Order, Watch], bytes]


@dataclass(frozen=True)
class Drawn:
    """A picture's file, and how long it took to draw."""

    data: bytes
    seconds: float


class DrawingQueue:
    """Places of one device; lives in one event loop, draws in one thread of its own.

    Args:
        paint: draws an order to a file's bytes; calls its second argument between steps.
        places: how many may wait or be drawn; who comes then is refused.

    Attributes:
        taken: places that are not free.
    """

    def __init__(self, paint: Paint, places: int) -> None:
        self._paint = paint
        self._places = places
        self.taken = 0
        self._last_s = 1.0
        self._turn = asyncio.Lock()  # who waits for it is served in order, and may go
        self._thread = ThreadPoolExecutor(1, "drawing")
        self._stop = threading.Event()
        self._is_closing = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place, from before a request's body is read until its answer is made.

        Raises:
            QueueFullError: there is none.
            ClosingError: there will be none.
        """
        if self._is_closing:
            raise ClosingError
        if self.taken >= self._places:
            wait_s = math.ceil(self.taken * self._last_s)
            raise QueueFullError(self._places, max(1, min(wait_s, LONGEST_RETRY_S)))
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def draw(self, order: Order) -> Drawn:
        """The picture, once it is its turn; who no longer waits for it is not drawn for.

        Raises:
            ClosingError: the server ended first.
        """
        async with self._turn:
            if self._is_closing:
                raise ClosingError
            stop = self._stop = threading.Event()
            began = time.monotonic()
            try:
                data = await self._in_thread(order, stop)
            except AbandonedError:
                raise ClosingError from None
            self._last_s = time.monotonic() - began
            return Drawn(data, self._last_s)

    async def _in_thread(self, order: Order, stop: threading.Event) -> bytes:
        loop = asyncio.get_running_loop()
        drawing = loop.run_in_executor(self._thread, self._paint, order, partial(_check, stop))
        try:
            return await asyncio.shield(drawing)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.gather(drawing, return_exceptions=True)  # the device is free after its step
            raise

    def close(self) -> None:
        """Draw no more: what is being drawn ends after its step, who waits is told."""
        self._is_closing = True
        self._stop.set()
        self._thread.shutdown(wait=False)


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise AbandonedError
