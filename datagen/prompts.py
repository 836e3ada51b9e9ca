"""Prompts: what language models are asked to write, as versioned data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast

import yaml

from datagen.text_checks import BadTextError
from shards.sample import Json, canonical_json

FILE = files("datagen").joinpath("prompts.yaml")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One thing that can be asked.

    Attributes:
        id: its name in the file.
        version: of its wording and schema.
        source: where the idea of it is from.
        text: with {facts} where they go.
        schema: of the answer.
        may_repeat: whether the answer may quote what it was given.
    """

    id: str
    version: int
    source: str
    text: str
    schema: Json
    may_repeat: bool = False

    def filled(self, facts: Mapping[str, Json]) -> str:
        """The text as it is sent; the facts are its last line."""
        return self.text.replace("{facts}", canonical_json(facts).decode()).strip()


@cache
def load_prompts() -> Mapping[str, Prompt]:
    """Every prompt, by id."""
    entries: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {name: Prompt(id=name, **entry) for name, entry in entries.items()}


def fingerprint() -> str:
    """Of all prompts, for the hash of a step that uses them."""
    return hashlib.sha256(FILE.read_bytes()).hexdigest()


def check_fields(value: Json, schema: Json, where: str = "answer") -> None:
    """Hold an answer against the part of JSON schema that the prompts use.

    >>> check_fields({"subject": "2"}, load_prompts()["identify"].schema)
    Traceback (most recent call last):
    ...
    datagen.text_checks.BadTextError: answer.subject: expected integer, got '2'

    Raises:
        BadTextError: what is missing or of another kind.
    """
    wanted = cast(Mapping[str, Any], schema)
    kind = wanted["type"]
    kinds = {"object": dict, "array": list, "string": str, "integer": int}
    if not isinstance(value, kinds[kind]) or isinstance(value, bool):
        raise BadTextError("wrong_fields", f"{where}: expected {kind}, got {value!r:.80}")
    if kind == "object":
        held = cast(Mapping[str, Json], value)
        for name in wanted["required"]:
            if name not in held:
                raise BadTextError("wrong_fields", f"{where}: expected {name!r}, got {', '.join(held)}")
            check_fields(held[name], wanted["properties"][name], f"{where}.{name}")
    elif kind == "array":
        for number, entry in enumerate(cast("list[Json]", value)):
            check_fields(entry, wanted["items"], f"{where}[{number}]")
    elif kind == "string":
        _check_text(str(value), wanted, where)


def _check_text(value: str, wanted: Mapping[str, Any], where: str) -> None:
    if "enum" in wanted and value not in wanted["enum"]:
        raise BadTextError(
            "wrong_fields", f"{where}: expected {', '.join(wanted['enum'])}, got {value!r:.80}"
        )
    if len(value) > wanted.get("maxLength", len(value)):
        raise BadTextError(
            "too_long", f"{where}: expected at most {wanted['maxLength']} letters, got {len(value)}"
        )
