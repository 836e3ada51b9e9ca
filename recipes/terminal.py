"""The terminal that all commands print to, and the files that they are told to write."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# Where nobody draws a window, names are not to be cut to 80 columns.
console = Console(width=None if sys.stdout.isatty() else int(os.environ.get("COLUMNS", "160")))
problems = Console(stderr=True)

LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="plan at most so many samples in each step")
]


def ready(path: Path) -> Path:
    """A file to write, once its folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
