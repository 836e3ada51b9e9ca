"""Asking again what an outage spoilt: a judged step is made anew, and the ledger gives what was paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from recipes.identity import directories
from recipes.run import Run
from recipes.schema import Recipe, RecipeError
from recipes.trace import delete_directory, finished, made_from
from shards.manifest import Manifest, read_manifest
from shards.storage import Storage
from shards.tables import questions, read_table

# An unreadable reply was paid for: the judge said something else than a label, and would again.
UNPAID = ("error", "truncated")


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
    if name not in recipe.steps or recipe.steps[name].step_type.kind != "scores":
        judged = [each.name for each in recipe.steps.values() if each.step_type.kind == "scores"]
        raise RecipeError([f"{recipe.path}: expected a judged step of {', '.join(judged)}, got {name!r}"])
    directory = directories(recipe)[name]
    storage = out.child(directory)
    if not storage.exists():
        raise RecipeError([f"{storage.uri}: expected a step that was run, got none; `bakery run` makes it"])
    if read_manifest(storage) and not count_statuses(storage)[status]:
        return []
    return [name for name in made_from(finished(out), [directory]) if name != directory] + [directory]


def retry(
    run: Run, recipe: Recipe, out: Storage, name: str, status: str
) -> tuple[list[str], Mapping[str, Manifest]]:
    """Forget a step's lost replies and what was made from them, and ask them again.

    Nothing is forgotten before it is known that the step can be made. Only for who holds the lease.

    Returns:
        names of the directories that went, and what was made.

    Raises:
        EndpointError: no endpoint answers, or one is not what is declared.
    """
    gone = spoilt(recipe, out, name, status)
    if not gone:
        return [], {}
    run.check_asked(name)
    for each in gone:
        delete_directory(out, each)
    return gone, run.execute(only=[name])
