"""What a terminal shows of a stage: now and then a line with its loss, its speed and the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping

EVERY_S = 30.0


class Progress:
    """Lines at least `EVERY_S` apart.

    Args:
        first: steps that were done before this process went on.
        steps: of the stage.
    """

    def __init__(self, first: int, steps: int) -> None:
        self._first, self._steps = first, steps
        self._begin_s = self._told_s = time.perf_counter()
        self._losses: list[float] = []

    def line(self, done: int, values: Mapping[str, float]) -> str | None:
        """What to say after so many steps; None if something was said a moment ago.

        Args:
            values: as logged; the loss that is said is the mean of those since the last line.
        """
        self._losses.append(values["loss"])
        now_s = time.perf_counter()
        if now_s - self._told_s < EVERY_S:
            return None
        loss = sum(self._losses) / len(self._losses)
        left_s = (now_s - self._begin_s) / (done - self._first) * (self._steps - done)
        self._told_s, self._losses = now_s, []
        speed = f"{values['tokens_per_s']:,.0f} tokens/s"
        speed += f", MFU {values['mfu']:.2f}" if "mfu" in values else ""
        return f"  step {done:,} of {self._steps:,}: loss {loss:.4f}, {speed}, {span_words(left_s)} left"


def span_words(seconds: float) -> str:
    """A time for people.

    >>> span_words(7.2), span_words(150), span_words(45_000)
    ('7 s', '2 min', '12 h 30 min')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
