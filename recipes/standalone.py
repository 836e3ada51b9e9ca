"""`bakery select` on its own: a policy over finished scores, without a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from filters.select import SelectConfig, changes
from recipes.schema import RecipeError, read_settings
from shards.driver_step import Input, Result
from shards.manifest import FILE as MANIFEST
from shards.manifest import Manifest, read_manifest, versions, write_manifest
from shards.selection import FILE, read_selection
from shards.stage import content_key
from shards.storage import SCRATCH, Storage


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A policy as a command line says it: `SCORE=NUMBER` in `least` and `most`; the rest as in a recipe."""

    least: Sequence[str] = ()
    most: Sequence[str] = ()
    best: int | None = None
    order: Sequence[str] = ()
    by: Sequence[str] = ()
    policy: str | None = None

    def config(self) -> SelectConfig:
        """The policy.

        Raises:
            RecipeError: a rule cannot be read, or the rules are none together.
        """
        written = {
            "policy": self.policy,
            "min_scores": _bounds("--min", self.least),
            "max_scores": _bounds("--max", self.most),
            "best": self.best,
            "order": tuple(self.order) or (tuple(_bounds("--min", self.least)) if self.best else ()),
            "by": self.by[0] if len(self.by) == 1 else tuple(self.by),
        }
        errors: list[str] = []
        given = {name: value for name, value in written.items() if value}
        config: SelectConfig | None = read_settings(SelectConfig, given, "select", errors)
        if errors or config is None:
            raise RecipeError(errors)
        return config


def select_directory(scores: Sequence[str], target: Storage, rules: Rules) -> list[str]:
    """Write a selection over directories of scores; return lines that tell its yield and what changed.

    Raises:
        RecipeError: a directory holds no scores, or a rule cannot be read.
    """
    config = rules.config()
    judged = [_scores(name) for name in scores]
    samples = _samples_of(judged)
    before = _selected_before(target)
    target.delete(MANIFEST)  # first: a selection that breaks off here is none
    result = config.make({"input": [samples], "scores": judged}, target)
    write_manifest(target, _manifest(target, config, samples, judged, result))
    target.delete(SCRATCH)
    return [*_told(result, target, before), target.path(FILE)]


def _samples_of(judged: Sequence[Input]) -> Input:
    """The directory of samples that all of them scored."""
    of = {name for found in judged for name in found.manifest.parents["input"]}
    if len(of) != 1:
        raise RecipeError(
            [f"select: expected scores of one directory, got scores of {', '.join(sorted(of))}"]
        )
    return _input(judged[0].storage.sibling(of.pop()))


def _manifest(
    target: Storage, config: SelectConfig, samples: Input, judged: Sequence[Input], result: Result
) -> Manifest:
    digest = content_key("", config.computed(), [found.manifest.hash for found in judged]).lstrip("-")
    return Manifest(
        name=_folder_name(target),
        type="select",
        hash=digest,
        kind="selection",
        config={"type": "select", "settings": config.computed()},
        parents={"input": [samples.manifest.directory], "scores": [f.manifest.directory for f in judged]},
        files=result.files,
        books=result.books,
        versions=versions(),
    )


def _told(result: Result, target: Storage, before: pa.Table | None) -> Iterator[str]:
    share = result.books.made / max(result.books.read, 1)
    yield f"kept {result.books.made} of {result.books.read} ({share:.1%})"
    yield from (f"  {count} {reason}" for reason, count in result.books.reasons.items())
    if before is not None:
        changed = changes(before, read_selection(target))
        yield f"against the selection that was there: {changed['came']} came, {changed['went']} went"


def _selected_before(target: Storage) -> pa.Table | None:
    """The selection that this one takes the place of, if there is one.

    Raises:
        RecipeError: something else lies there, which would be lost.
    """
    held = {name for name in target.names() if not name.startswith(".")}  # scratch is no content
    manifest = read_manifest(target)
    is_of_a_recipe = manifest is not None and (
        manifest.type != "select" or _folder_name(target) == manifest.directory
    )
    if held - {FILE, MANIFEST} or is_of_a_recipe:
        what = "a step of a recipe" if is_of_a_recipe else ", ".join(sorted(held))
        wanted = "an empty folder, or one that `bakery select` wrote"
        raise RecipeError([f"--out {target.uri}: expected {wanted}, got {what:.80}; name another"])
    return read_selection(target) if FILE in held else None


def _folder_name(target: Storage) -> str:
    return target.path().rstrip("/").rpartition("/")[2]


def _bounds(option: str, rules: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for rule in rules:
        name, _, value = rule.partition("=")
        if name in found:
            raise RecipeError([f"{option} {rule}: expected one value for {name}, got {found[name]:g} before"])
        try:
            found[name] = float(value)
        except ValueError as error:
            raise RecipeError([f"{option}: expected SCORE=NUMBER, got {rule!r}"]) from error
    return found


def _scores(name: str) -> Input:
    found = _input(Storage(name.rstrip("/")))
    if found.manifest.kind != "scores":
        raise RecipeError([f"{name}: expected a directory of scores, got one of {found.manifest.kind}"])
    return found


def _input(storage: Storage) -> Input:
    manifest = read_manifest(storage)
    if manifest is None:
        raise RecipeError(
            [f"{storage.uri}: expected a finished directory, got none; `bakery ls OUT` lists them"]
        )
    return Input(storage=storage, manifest=manifest)
