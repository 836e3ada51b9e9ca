"""Asking again what an outage spoilt: a judged step is made anew, and the ledger gives what was paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Protocol

import pyarrow.compute as pc

from recipes.identity import directories
from recipes.inputs import samples_of
from recipes.run import Run
from recipes.schema import Recipe, RecipeError
from recipes.trace import delete_directory, finished, made_from
from shards.image import ImageError, check_image
from shards.index import Directory
from shards.manifest import Manifest, read_manifest
from shards.sample import Sample
from shards.storage import Storage
from shards.tables import questions, read_table

# An unreadable reply was paid for: the judge said something else than a label, and would again.
UNPAID = ("error", "truncated")


class Samples(Protocol):
    """Samples by key: a directory of them."""

    def __getitem__(self, key: str) -> Sample: ...


def check_status(status: str) -> None:
    """Refuse a status whose replies are paid for.

    Raises:
        RecipeError: naming those that can be asked again.
    """
    if status not in UNPAID:
        paid = "an unreadable reply is paid and kept: ask in other words (a new version of the question)"
        raise RecipeError([f"--status: expected {' or '.join(UNPAID)}, got {status!r}; {paid}"])


def count_statuses(storage: Storage) -> Counter[str]:
    """How many replies of a finished directory of scores have each status."""
    found: Counter[str] = Counter()
    for question in questions(storage):
        found.update(read_table(storage, question, ["status"]).column("status").to_pylist())
    return found


def spoilt(recipe: Recipe, out: Storage, name: str, status: str) -> list[str]:
    """The directories of a step and of what was made from it, where a reply has that status.

    None of a finished step that has no such reply.

    Raises:
        RecipeError: the recipe has no such judged step, or it was never run.
    """
    judged = [s.name for s in recipe.steps.values() if s.step_type.kind == "scores" and s.is_of_workers]
    if name not in judged:
        raise RecipeError([f"{recipe.path}: expected a judged step of {', '.join(judged)}, got {name!r}"])
    directory = directories(recipe)[name]
    storage = out.child(directory)
    if not storage.exists():
        raise RecipeError([f"{storage.uri}: expected a step that was run, got none; `bakery run` makes it"])
    if read_manifest(storage) and not count_statuses(storage)[status]:
        return []
    return [name for name in made_from(finished(out), [directory]) if name != directory] + [directory]


def _is_to_ask(recipe: Recipe, out: Storage, name: str, status: str) -> bool:
    """Whether asking again can mend a reply of that status: told before any server is started for it."""
    names = directories(recipe)
    storage, (read,) = out.child(names[name]), recipe.steps[name].inputs["input"]
    if read_manifest(storage) is None or read_manifest(out.child(names[read])) is None:
        return True  # what is not finished, or lacks its input, is for the run to tell
    keys = set[str]()
    for question in questions(storage):
        table = read_table(storage, question, ["key", "status"])
        keys.update(table.filter(pc.equal(table.column("status"), status)).column("key").to_pylist())
    return can_be_sent(Directory(samples_of(out, names[read]).storage), keys)


def can_be_sent(samples: Samples, keys: Iterable[str]) -> bool:
    """Whether any of these samples can be sent to a judge: an image that cannot be decoded never can."""
    for key in keys:
        with suppress(ImageError):
            for image in samples[key].images.values():
                check_image(image)
            return True
    return False


def retry(
    run: Run, recipe: Recipe, out: Storage, name: str, status: str
) -> tuple[list[str], Mapping[str, Manifest]]:
    """Forget a step's lost replies and what was made from them, and ask them again.

    Nothing is forgotten before it is known that asking can mend something and that the step can be made. Only
    for who holds the lease.

    Returns:
        names of the directories that went, and what was made.

    Raises:
        EndpointError: no endpoint answers, or one is not what is declared.
    """
    gone = spoilt(recipe, out, name, status)
    if not gone or not _is_to_ask(recipe, out, name, status):
        return [], {}
    run.check_asked(name)
    for each in gone:
        delete_directory(out, each)
    return gone, run.execute(only=[name])
