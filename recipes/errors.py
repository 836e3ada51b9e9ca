"""Which failures are told in words and which are bugs with a traceback."""

from __future__ import annotations

import errno
import re
import traceback

import pydantic
from rich.console import Console
from rich.markup import escape

ANOTHER_FOLDER = "; name a folder that may be written, for output with --out"
WAYS_OUT = {
    errno.EACCES: ANOTHER_FOLDER,
    errno.EROFS: ANOTHER_FOLDER,
    errno.ENOTDIR: "; a file lies where a folder is wanted: name another, for output with --out",
    errno.EISDIR: "; a folder lies where a file is wanted: name another",
    errno.ENOSPC: "; free some space (`bakery gc` drops what no recipe names) and run it again",
}
ARROW_DETAIL = re.compile(r"\. Detail: \[errno \d+\] (.*)", re.DOTALL)  # how pyarrow tells the system's error


def explain(error: BaseException, console: Console) -> int:
    """Print an error for a person; return the exit code.

    An error of ours, or of the disk or network, is its own message. Anything else is a bug: its traceback
    is what its fixer needs.
    """
    is_ours = type(error).__module__.partition(".")[0] in ("shards", "datagen", "filters", "recipes", "train")
    if is_ours or isinstance(error, OSError | pydantic.ValidationError):
        console.print(f"[red]error[/red] {_text(error)}", highlight=False, soft_wrap=True)
    else:
        console.print(
            "".join(traceback.format_exception(error)), highlight=False, markup=False, soft_wrap=True
        )
        console.print(
            "this is a bug; what was committed is kept, and the same command goes on", highlight=False
        )
    return 1


def _text(error: BaseException) -> str:
    words = str(error)
    if isinstance(error, OSError) and error.errno and error.strerror:  # bare of our words: the system's own
        told = ARROW_DETAIL.sub(r": \1", error.strerror)
        where = f"{error.filename}: " if error.filename else ""
        words = f"{where}{told}{WAYS_OUT.get(error.errno, '')}"
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    return escape(f"{words}{notes}")
