"""What is wrong with settings, in words: where, what was expected, what came; the name that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

# What may be a key in an address, before a host or in a query: no message repeats it.
KEY_IN_URL = re.compile(r"""[^\s'"/(\[]+(?=@)|(?<=\?)[^\s'"]+""")


def unknown(value: Mapping[Any, Any], known: Iterable[str], where: str) -> Iterator[str]:
    """Names that are not known, each with the one that was meant, or all that are known.

    >>> list(unknown({"sampels": 4}, ["samples", "seed"], "base."))
    ["base.sampels: unknown; did you mean 'samples'?"]
    """
    known = sorted(known)
    for name in value:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            yield f"{where}{name}: unknown; {hint}"


def fault_lines(before: str, known: Iterable[str], error: ValidationError) -> list[str]:
    """The faults that pydantic found, a line each.

    Args:
        before: a setting's name: `recipe.yaml: ` or `recipe.yaml: steps.base.`.
        known: names of settings.
        error: of their validation.
    """
    return [_line(before, known, fault) for fault in error.errors()]


def _line(before: str, known: Iterable[str], fault: Any) -> str:  # noqa: ANN401, pydantic's ErrorDetails
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
        return next(unknown({place: 0}, known, before))
    where = f"{before}{place}" if place else before.rstrip(".: ")
    if fault["type"] == "missing":
        return f"{where}: expected a value, got none"
    message = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if fault["type"] == "value_error" and "expected " in message and ", got " in message:
        return f"{where}: {message}"  # our own words are whole
    got = KEY_IN_URL.sub("***", repr(fault["input"]))
    return f"{where}: expected {message.removeprefix('expected ')}, got {got:.80}"
