"""`bakery select` on its own: a policy over finished scores, without a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from filters.select import SelectConfig, changes
from recipes.schema import RecipeError
from shards.driver_step import Input
from shards.manifest import FILE, Manifest, read_manifest, versions, write_manifest
from shards.selection import read_selection
from shards.stage import content_key
from shards.storage import Storage


def select_directory(
    scores: Sequence[str],
    target: Storage,
    least: Sequence[str],
    most: Sequence[str],
    best: int | None,
    order: Sequence[str],
    by: str | None,
    policy: str | None = None,
) -> list[str]:
    """Write a selection over directories of scores; return lines that tell its yield and what changed.

    Raises:
        RecipeError: a directory holds no scores, or a rule cannot be read.
    """
    rules = {
        "policy": policy,
        "min_scores": _rules("--min", least),
        "max_scores": _rules("--max", most),
        "best": best,
        "order": tuple(order) or _default_order(least, best),
        "by": by,
    }
    try:
        config = SelectConfig.model_validate({name: value for name, value in rules.items() if value})
    except ValidationError as error:
        told = [each["msg"].removeprefix("Value error, ") for each in error.errors()]
        raise RecipeError([f"select: expected {each}" for each in told]) from error
    _check_target(target)
    judged = [_scores(name) for name in scores]
    of = {name for found in judged for name in found.manifest.parents["input"]}
    if len(of) != 1:
        raise RecipeError(
            [f"select: expected scores of one directory, got scores of {', '.join(sorted(of))}"]
        )
    samples = _input(judged[0].storage.sibling(of.pop()))
    before = read_selection(target) if target.exists("selection.parquet") else None
    target.delete(FILE)  # until it is written anew: a selection that breaks off is none
    result = config.make({"input": [samples], "scores": judged}, target)
    digest = content_key("", config.computed(), [found.manifest.hash for found in judged]).lstrip("-")
    draft = Manifest(
        name="select",
        type="select",
        hash=digest,
        kind="selection",
        config={"type": "select", "settings": config.computed()},
        parents={"input": [samples.manifest.directory], "scores": [f.manifest.directory for f in judged]},
        files=result.files,
        books=result.books,
        versions=versions(),
    )
    write_manifest(target, draft)
    share = result.books.made / max(result.books.read, 1)
    lines = [f"kept {result.books.made} of {result.books.read} ({share:.1%})"]
    lines += [f"  {count} {reason}" for reason, count in result.books.reasons.items()]
    if before is not None:
        changed = changes(before, read_selection(target))
        lines.append(f"against the selection that was there: {changed['came']} came, {changed['went']} went")
    return [*lines, target.path("selection.parquet")]


def _check_target(target: Storage) -> None:
    """Refuse to write over what a recipe made, or over samples and scores.

    Raises:
        RecipeError: saying what lies there.
    """
    found = read_manifest(target)
    if found and (found.kind != "selection" or target.path().endswith(f"/{found.directory}")):
        raise RecipeError(
            [f"--out {target.uri}: expected a folder of its own, got {found.kind} that a recipe made"]
        )


def _default_order(least: Sequence[str], best: int | None) -> tuple[str, ...]:
    return tuple(_rules("--min", least)) if best else ()


def _rules(option: str, rules: Sequence[str]) -> dict[str, float]:
    found = {}
    for rule in rules:
        name, _, value = rule.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise RecipeError([f"{option} {rule}: expected SCORE=NUMBER, got {value!r}"]) from error
    return found


def _scores(name: str) -> Input:
    found = _input(Storage(name.rstrip("/")))
    if found.manifest.kind != "scores":
        raise RecipeError([f"{name}: expected a directory of scores, got one of {found.manifest.kind}"])
    return found


def _input(storage: Storage) -> Input:
    manifest = read_manifest(storage)
    if manifest is None:
        raise RecipeError([f"{storage.uri}: expected a finished directory, got none"])
    return Input(storage=storage, manifest=manifest)
