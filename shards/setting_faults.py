"""What is wrong with settings, in words: where, what was expected, what came; the name that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

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
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
            yield f"{where}{name}: unknown; {hint}"


def flags(value: Mapping[Any, Any], known: Mapping[str, Any], where: str) -> Iterator[str]:
    """Where True or False stand for numbers: pydantic reads 1 and 0, and people did not mean that.

    Args:
        value: settings as they are written.
        known: a model's fields.
        where: goes before each name.
    """
    for name, held in value.items():
        annotation = getattr(known.get(str(name)), "annotation", Any)
        models = list(_models(annotation))
        if models and isinstance(held, Mapping):
            inside = {key: field for model in models for key, field in model.model_fields.items()}
            yield from flags(held, inside, f"{where}{name}.")
        elif not models and not _may_be_flag(annotation):
            yield from _flags_in(held, f"{where}{name}")


def _flags_in(value: object, where: str) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"{where}: expected no yes or no, which YAML also reads on and off as, got {value!r}"
    elif isinstance(value, Mapping):
        for name, held in value.items():
            yield from _flags_in(held, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for number, held in enumerate(value):
            yield from _flags_in(held, f"{where}.{number}")


def _may_be_flag(annotation: Any) -> bool:  # noqa: ANN401, whatever a field is
    """Whether a True or False may stand anywhere in it; pydantic itself takes none for a word."""
    inner = get_args(annotation)
    return any(map(_may_be_flag, inner)) if inner else annotation not in (int, float, str, NoneType, ...)


def fault_lines(before: str, known: Mapping[str, Any], error: ValidationError) -> list[str]:
    """The faults that pydantic found, a line each.

    Args:
        before: a setting's name: `recipe.yaml: ` or `recipe.yaml: steps.base.`.
        known: settings by name; as a model's fields, so that those of settings inside are known too.
        error: of their validation.
    """
    faults = [(*_placed(fault["loc"], known), fault) for fault in error.errors()]
    lines: dict[str, list[tuple[str, str]]] = {}
    for names, inside, fault in faults:
        is_of_another_type = len(fault["loc"]) > len(names) and any(
            other[: len(names)] == names and len(other) > len(names) for other, _, _ in faults
        )
        if not is_of_another_type:
            where, expected, got = _told(before, names, inside, fault)
            lines.setdefault(where, []).append((expected, got))
    return [f"{where}: {line}" for where, told in lines.items() for line in _joined(told)]


def _told(
    before: str,
    names: Sequence[str],
    inside: Mapping[str, Any],
    fault: Any,  # noqa: ANN401, pydantic's
) -> tuple[str, str, str]:
    """Where a fault is, what was expected, and what came; "" where the words are whole without."""
    where = f"{before}{'.'.join(names)}" if names else before.rstrip(".: ")
    if fault["type"] == "extra_forbidden":
        above = "".join(f"{name}." for name in names[:-1])
        hint = next(unknown({names[-1]: 0}, inside, f"{before}{above}"))
        return where, hint.removeprefix(f"{where}: "), ""
    if fault["type"] == "missing":
        return where, "expected a value, got none", ""
    message = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    if fault["type"] == "value_error" and "expected " in message and ", got " in message:
        return where, message, ""  # our own words are whole
    got = KEY_IN_URL.sub("***", repr(fault["input"]))
    expected = message.removeprefix("expected ").partition(", unable to parse")[0]
    return where, f"expected {expected}", f"{got:.80}"


def _joined(told: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A line for each thing that came to a place: what may stand there may be one of several."""
    alike: dict[str, list[str]] = {}
    for expected, got in told:
        if not got:
            yield expected
        elif expected not in alike.setdefault(got, []):
            alike[got].append(expected)
    for got, (first, *more) in alike.items():
        others = "".join(f" or {each.removeprefix('expected ')}" for each in more)
        yield f"{first}{others}, got {got}"


def _placed(place: Sequence[str | int], known: Mapping[str, Any]) -> tuple[list[str], Mapping[str, Any]]:
    """Where a fault is, in names that a person writes, and the settings that are known there.

    Of a setting that may be of several types pydantic names the type too, which nobody writes at that place.
    """
    names: list[str] = []
    fields, holds = known, None
    for number, part in enumerate(place):
        if kinds := [model for model in _models(holds) if part in _kinds(model)]:
            fields, holds = kinds[0].model_fields, None
            continue
        if len(types := _types(holds)) > 1:
            holds = next((each for each in types if get_args(each)), None)
            continue
        names.append(str(part))
        if number == len(place) - 1:
            break
        if types and get_args(types[0]):
            holds = get_args(types[0])[-1]  # of a mapping's values, of a list's elements
        else:
            holds = getattr(fields.get(str(part)), "annotation", None)
        models = list(_models(holds))
        fields = models[0].model_fields if models else {}
    return names, fields


def _types(annotation: Any) -> list[Any]:  # noqa: ANN401, whatever a field is
    """The types that a value may be of, None aside."""
    if get_origin(annotation) is Annotated:
        return _types(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [each for each in get_args(annotation) if each is not NoneType]
    return [] if annotation is None else [annotation]


def _kinds(model: type[BaseModel]) -> tuple[object, ...]:
    """The values of the field that tells a model from others of its place."""
    kind = model.model_fields.get("kind")
    return get_args(kind.annotation) if kind else (model.__name__,)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401, whatever a field is
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
