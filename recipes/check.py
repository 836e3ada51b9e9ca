"""What a recipe would do, before it does it: counts, sizes, what is finished already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.identity import directories
from recipes.schema import Recipe, Step
from shards.manifest import Manifest, read_manifest
from shards.settings import Settings
from shards.storage import Storage

BYTES_A_SCORE = 60


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one step is expected to make.

    Attributes:
        step: of the recipe.
        directory: its directory's name.
        manifest: of the finished directory, if it is there.
        most: samples at the most; None where only the data can tell.
        size_bytes: roughly what they take; None where it cannot be told.
    """

    step: Step
    directory: str
    manifest: Manifest | None
    most: int | None
    size_bytes: float | None


def expectations(recipe: Recipe, out: Storage) -> list[Expectation]:
    """What each step of a recipe would make, in order."""
    found: dict[str, Expectation] = {}
    for name, directory in directories(recipe).items():
        step = recipe.steps[name]
        manifest = read_manifest(out.child(directory))
        most = manifest.books.made if manifest else _most(step, found)
        found[name] = Expectation(
            step=step,
            directory=directory,
            manifest=manifest,
            most=most,
            size_bytes=_size(step, manifest, most, found),
        )
    return list(found.values())


def _most(step: Step, found: Mapping[str, Expectation]) -> int | None:
    asked = _asked(step.settings)
    read = [found[name].most for role, names in step.inputs.items() for name in names if role == "input"]
    known = [count for count in read if count is not None]
    if step.step_type.kind == "page":
        return 1
    is_known = len(known) == len(read)
    if each := step.settings.samples_each():
        taken = asked if not read else sum(known) if is_known else None
        most = taken * each if taken is not None else None
    elif step.step_type.is_costly or not is_known or not read:
        most = asked
    else:
        most = min(sum(known), asked) if asked else sum(known)
    return min(most, step.limit) if most is not None and step.limit else most


def _asked(settings: Settings) -> int | None:
    """The number that a step's settings put on its samples, if they put one on all."""
    asked = next((n for name in ("samples", "sample", "best") if (n := getattr(settings, name, None))), None)
    if isinstance(asked, Mapping):
        return sum(asked.values())
    is_of_groups = (
        asked is not None and asked == getattr(settings, "best", None) and getattr(settings, "by", None)
    )
    return None if is_of_groups else asked  # how many groups there are is not known


def _size(
    step: Step, manifest: Manifest | None, most: int | None, found: Mapping[str, Expectation]
) -> float | None:
    if manifest:
        return float(sum(record.size for record in manifest.files.values()))
    if most is None:
        return None
    if step.step_type.kind == "samples":
        each = _sample_bytes(step, found)
        return None if each is None else most * each
    questions = len(getattr(step.settings, "questions", ())) or 1
    return float(most * BYTES_A_SCORE * questions) if step.step_type.kind != "page" else None


def _sample_bytes(step: Step, found: Mapping[str, Expectation]) -> float | None:
    """What one of its samples takes: as its settings tell, else as one of what it reads."""
    if (told := step.settings.sample_bytes()) is not None:
        return told
    for each in (found[name] for name in step.reads):
        if each.step.step_type.kind == "selection":  # its samples are those of what it selects from
            return _sample_bytes(each.step, found)
        if each.step.step_type.kind == "samples" and each.size_bytes and each.most:
            return each.size_bytes / each.most
    return None


def differing(old: Recipe, new: Recipe) -> list[tuple[str, list[str]]]:
    """Steps of `new` that a finished run of `old` does not spare, each with what changed."""
    from recipes.identity import computed, differences, hashes

    before, after = hashes(old), hashes(new)
    spared = set(before.values())
    found = []
    for name, step in new.steps.items():
        if after[name] in spared and before.get(name) == after[name]:
            continue
        if name not in old.steps:
            found.append((name, ["a new step"]))
            continue
        why = list(differences(computed(old.steps[name]), computed(step)))
        changed = [read for read in step.reads if before.get(read) != after[read]]
        why += [f"reads {', '.join(changed)}, which changed"] if changed else []
        if old.steps[name].inputs != step.inputs:
            why.append(f"reads {', '.join(step.reads)} instead of {', '.join(old.steps[name].reads)}")
        found.append((name, why or ["its inputs come in another order"]))
    return found
