"""What a run shows while it works: a line a step with rate and time left, and the same in a status file."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shards.manifest import Manifest
from shards.production import Progress
from shards.storage import Storage, StorageError

STATUS = "status.json"
STATUS_EVERY_S = 1.0
LOG_EVERY_S = 10.0


@dataclass
class Line:
    """One step's line.

    Attributes:
        name, type: of the step.
        state: "waiting", "planning", "working", "kept", "made", "failed".
        planned, done, rejected: samples.
        note: what is worth saying: what was copied, resumed.
        seconds: since it began, or that it took.
    """

    name: str
    type: str
    state: str = "waiting"
    planned: int = 0
    done: int = 0
    rejected: int = 0
    rate: float = 0.0
    note: str = ""
    seconds: float = 0.0
    directory: str = ""


@dataclass
class Display:
    """Shows the steps of one run on a console and in `OUT/status.json`."""

    console: Console
    out: Storage
    recipe: str
    lines: dict[str, Line] = field(default_factory=dict)
    _live: Live | None = None
    _began: dict[str, float] = field(default_factory=dict)
    _written: float = 0.0
    _logged: float = 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(self.table(), console=self.console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401, as the protocol has it
        if any(line.state != "waiting" for line in self.lines.values()):  # else the last run's status stays
            with suppress(OSError):  # of no weight beside what the run itself ended with
                self._refresh(is_forced=True)
        if self._live:
            self._live.__exit__(*error)

    def begin(self, name: str, directory: str) -> None:
        """A step's work begins."""
        line = self.lines[name]
        line.state, line.directory = "planning", directory
        self._began[name] = time.monotonic()
        self._refresh(is_forced=True)

    def observe(self, name: str, progress: Progress) -> None:
        """A step has come further."""
        line = self.lines[name]
        line.state = "working"
        line.planned, line.done, line.rejected = progress.planned, progress.done, progress.failed
        line.seconds = time.monotonic() - self._began[name]
        line.rate = (progress.made + progress.failed) / max(line.seconds, 1e-9)
        line.note = _note(progress)
        self._refresh()
        self._log(line)

    def _log(self, line: Line) -> None:
        """Where no live table can be drawn, a line now and then."""
        now = time.monotonic()
        if not self._live and now - max(self._logged, self._began[line.name]) >= LOG_EVERY_S:
            self._logged = now
            left = left_s(line)
            words = f"{line.done}/{line.planned}, {line.rate:.1f}/s"
            self.console.print(
                f"{line.name}: {words}{f', {left:.0f} s left' if left else ''}", highlight=False
            )

    def kept(self, name: str, manifest: Manifest) -> None:
        """A step was finished by an earlier run."""
        self._end(name, manifest, "kept", "")

    def made(self, name: str, manifest: Manifest) -> None:
        """A step is finished."""
        line = self.lines[name]
        line.seconds = time.monotonic() - self._began[name]
        self._end(name, manifest, "made", line.note)
        if not self._live:
            self.console.print(f"{name}: {_summary(line, manifest)}", highlight=False)

    def failed(self, name: str) -> None:
        """A step broke off; what it committed is kept."""
        self.lines[name].state = "failed"
        self._refresh(is_forced=True)

    def _end(self, name: str, manifest: Manifest, state: str, note: str) -> None:
        line = self.lines[name]
        line.state, line.note, line.directory = state, note, manifest.directory
        line.planned, line.done = manifest.books.planned, manifest.books.planned
        line.rejected = manifest.books.failed + manifest.books.refused
        self._refresh(is_forced=True)

    def _refresh(self, *, is_forced: bool = False) -> None:
        if self._live:
            self._live.update(self.table())
        now = time.monotonic()
        if is_forced or now - self._written >= STATUS_EVERY_S:
            self._written = now
            self.out.write_again(STATUS, json.dumps(self.status(), indent=1).encode())

    def status(self) -> dict[str, Any]:
        """What the status file says."""
        return {
            "recipe": self.recipe,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "updated_s": time.time(),
            "steps": [{**vars(line), "left_s": left_s(line)} for line in self.lines.values()],
        }

    def table(self) -> Table:
        """The steps as a table."""
        return status_table([vars(line) | {"left_s": left_s(line)} for line in self.lines.values()])


def left_s(line: Line) -> float | None:
    """Seconds until a step is done at its present rate; None where it cannot be told."""
    return (line.planned - line.done) / line.rate if line.state == "working" and line.rate else None


def _note(progress: Progress) -> str:
    parts = []
    if progress.copied:
        parts.append(
            f"{progress.copied} copied from an earlier directory, {progress.made - progress.copied} made"
        )
    if progress.resumed:
        parts.append(f"{progress.resumed} were there already")
    if progress.deaths:
        parts.append(f"{progress.deaths} workers died")
    return ", ".join(parts)


STATE_STYLES = {"made": "green", "kept": "dim", "working": "yellow", "planning": "yellow", "failed": "red"}


def status_table(steps: list[dict[str, Any]]) -> Table:
    """Steps as `OUT/status.json` has them, as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("step", "type", "state"):
        table.add_column(name)
    for name in ("done", "rejected", "rate", "left", "took"):
        table.add_column(name, justify="right")
    table.add_column("note", overflow="fold")
    for step in steps:
        table.add_row(
            step["name"],
            step["type"],
            Text(step["state"], style=STATE_STYLES.get(step["state"], "")),
            f"{step['done']}/{step['planned']}" if step["planned"] else "",
            str(step["rejected"]) if step["planned"] or step["rejected"] else "",
            f"{step['rate']:.1f}/s" if step["state"] == "working" else "",
            f"{step['left_s']:.0f} s" if step["left_s"] is not None else "",
            f"{step['seconds']:.1f} s" if step["seconds"] else "",
            step["note"],
        )
    return table


def read_status(out: Storage) -> dict[str, Any] | None:
    """What the last run into a directory said of itself; None where there was none."""
    try:
        status: dict[str, Any] = json.loads(out.read(STATUS))
    except (StorageError, ValueError):
        return None
    return status


def _summary(line: Line, manifest: Manifest) -> str:
    """What became of a step; a plan refuses too, so it is not made of what was planned."""
    if manifest.kind == "page":
        return f"written, {line.seconds:.1f} s"
    words = f"{manifest.books.made} of {manifest.books.made + line.rejected}, {line.rejected} rejected"
    words = f"{words}, {line.seconds:.1f} s"
    return f"{words}; {line.note}" if line.note else words
