"""A task that tells of its process, or ends it."""

import os
import threading
import time
from dataclasses import dataclass

_both = threading.Barrier(2)  # of this process


class StubbornError(Exception):
    """Cannot be made again from its arguments, like many that libraries raise."""

    def __init__(self, reason, words):
        super().__init__(words)


@dataclass(frozen=True)
class Say:
    """A task that tells of its process."""

    what: str = ""
    name: str = "say"
    mark: str = ""

    def __call__(self, worker):
        if self.what == "raise":
            raise ZeroDivisionError("on purpose")
        if self.what == "raise what cannot travel":
            raise StubbornError("a reason", "its words")
        if self.what == "die":
            os._exit(1)
        if self.what == "sleep":
            time.sleep(60)
        if self.what == "meet":
            _both.wait(30)
        worker.count = getattr(worker, "count", 0) + 1
        return os.getpid(), worker.count, {name: os.environ.get(name) for name in ("OMP_NUM_THREADS",)}
