"""Errors in words: the system's own, also as pyarrow tells them, with the way out."""

import errno
from io import StringIO

import pytest
from rich.console import Console

from recipes.errors import explain


def told(error: BaseException) -> str:
    text = StringIO()
    assert explain(error, Console(file=text, width=400, color_system=None)) == 1
    return text.getvalue()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device"),
            "error Error writing bytes to file: No space left on device; free some space",
        ),
        (
            NotADirectoryError(
                errno.ENOTDIR, "Failed to open local file '/x/y'. Detail: [errno 20] Not a directory"
            ),
            "error Failed to open local file '/x/y': Not a directory; a file lies where a folder is wanted",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            "error /x: Permission denied; name a folder that may be written",
        ),
    ],
)
def test_the_system_s_error_comes_with_the_way_out(error: OSError, words: str) -> None:
    assert told(error).startswith(words)


def test_a_bug_keeps_its_traceback() -> None:
    assert "this is a bug" in told(KeyError("x"))
