"""Being asked to stop: SIGTERM and SIGINT end a run after its step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Stopping:
    """Whether this process was asked to stop, and whether all ranks agreed to.

    A second signal does what it did before: it ends the process at once.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.is_asked = self.is_agreed = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # Ray runs training on another thread
            self._before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
