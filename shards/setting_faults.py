"""What is wrong with settings, in words: where, what was expected, what came; the name that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

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


def fault_lines(before: str, known: Mapping[str, Any], error: ValidationError) -> list[str]:
    """The faults that pydantic found, a line each.

    Args:
        before: a setting's name: `recipe.yaml: ` or `recipe.yaml: steps.base.`.
        known: settings by name; as a model's fields, so that those of settings inside are known too.
        error: of their validation.
    """
    return [_line(before, known, fault) for fault in error.errors()]


def _line(before: str, known: Mapping[str, Any], fault: Any) -> str:  # noqa: ANN401, pydantic's ErrorDetails
    names, inside = _placed(fault["loc"], known)
    where = f"{before}{'.'.join(names)}" if names else before.rstrip(".: ")
    if fault["type"] == "extra_forbidden":
        above = "".join(f"{name}." for name in names[:-1])
        return next(unknown({names[-1]: 0}, inside, f"{before}{above}"))
    if fault["type"] == "missing":
        return f"{where}: expected a value, got none"
    message = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if fault["type"] == "value_error" and "expected " in message and ", got " in message:
        return f"{where}: {message}"  # our own words are whole
    got = KEY_IN_URL.sub("***", repr(fault["input"]))
    return f"{where}: expected {message.removeprefix('expected ')}, got {got:.80}"


def _placed(place: Sequence[str | int], known: Mapping[str, Any]) -> tuple[list[str], Mapping[str, Any]]:
    """Where a fault is, in names that a person writes, and the settings that are known there.

    Of settings of several kinds pydantic names the kind too, which nobody writes at that place.
    """
    names: list[str] = []
    fields, models = known, list[Any]()
    for number, part in enumerate(place):
        if kinds := [model for model in models if part in _kinds(model)]:
            fields, models = kinds[0].model_fields, []
            continue
        names.append(str(part))
        if number < len(place) - 1 and (field := fields.get(str(part))) is not None:
            models = list(_models(getattr(field, "annotation", None)))
            fields = models[0].model_fields if models else {}
    return names, fields


def _kinds(model: type[BaseModel]) -> tuple[object, ...]:
    """The values of the field that tells a model from others of its place."""
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind else ()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401, whatever a field is
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
