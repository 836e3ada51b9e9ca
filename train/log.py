"""What a run tells: one JSON line a logged step, the same in TensorBoard, pictures beside them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from train.page import GIVEN

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Log:
    """Writes on the first rank only; elsewhere it does nothing.

    Args:
        folder: of the stage.
        first: steps that are done already.
        is_written: whether this rank writes.
    """

    def __init__(self, folder: Path, first: int, *, is_written: bool) -> None:
        self.folder = folder
        self._file = self._board = None
        if is_written:
            folder.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(folder / "log.jsonl")
            self._file = (folder / "log.jsonl").open("a", encoding="utf-8")
            self._board = _open_board(folder / "tensorboard", first)

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._file, self._board):
            if each is not None:
                each.close()

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """One line; numbers go to TensorBoard as `kind/name`. A number that is none (NaN) is null."""
        if self._file is None:
            return
        line = {"kind": kind, "step": step, **{name: _finite(value) for name, value in values.items()}}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in values.items() if self._board is not None else ():
            if isinstance(value, int | float) and _finite(value) is not None:
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, name: str, step: int | None, image: Image.Image) -> None:
        """A picture as `samples/<step>-<name>.png`, or as `given-<name>.png`; any rank may write its own."""
        path = self.folder / "samples" / f"{GIVEN if step is None else f'{step:07d}'}-{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        image.save(partial, "PNG")
        partial.rename(path)  # another rank may be reading the folder
        if self._board is not None and step is not None:
            self._board.add_image(f"samples/{name}", np.asarray(image), step, dataformats="HWC")

    def say(self, text: str | None) -> None:
        """A line for people, if there is one."""
        if text is not None and self._file is not None:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()


def _cut_torn_line(path: Path) -> None:
    """Drop what a crash left of a last line: whoever reads the log then would stop there."""
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _open_board(folder: Path, first: int) -> SummaryWriter | None:
    """TensorBoard's writer; none where it is not installed, as on a bare GPU machine: the log has it all.

    What a killed run told of steps after the first is hidden: they are trained again.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first + 1)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value
