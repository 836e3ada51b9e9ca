"""What an output no longer needs: directories that no recipe names, work that was broken off, crumbs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recipes.identity import directories
from recipes.schema import Recipe, RecipeError
from recipes.trace import broken_off, delete_directory, finished
from shards.ledger import FOLDER, Ledger
from shards.storage import SCRATCH, Storage


@dataclass(frozen=True)
class Waste:
    """A folder to delete, with why and how large it is."""

    name: str
    why: str
    size_bytes: int


def check_all_there(recipes: Iterable[Recipe]) -> None:
    """Refuse recipes whose sources are not there: what was made of them could not be told from waste.

    Raises:
        RecipeError: naming each step and what it lacks.
    """
    lacking = [
        f"{recipe.path}: steps.{step.name}: {what}"
        for recipe in recipes
        for step in recipe.steps.values()
        for what in step.settings.missing()
    ]
    if lacking:
        raise RecipeError(
            [*lacking, "gc: expected all of these, as they name what is to stay; nothing was dropped"]
        )


def waste(out: Storage, recipes: Iterable[Recipe]) -> list[Waste]:
    """Folders that none of the recipes needs: the steps of each, finished or not, are needed.

    What is under another name than a step's was put there by hand, and stays.
    """
    needed = {directory for recipe in recipes for directory in directories(recipe).values()}
    known = [each.name for each in finished(out) if each.name == each.manifest.directory]
    found = [(name, "no recipe given names it") for name in known]
    found += [(name, "broken off") for name in broken_off(out)]
    return [Waste(name, why, out.child(name).total_size()) for name, why in found if name not in needed]


def collect(out: Storage, found: Iterable[Waste]) -> None:
    """Delete folders and compact the ledger. Only for who holds the lease; the ledger's replies all stay."""
    for entry in found:
        delete_directory(out, entry.name)
    ledger = out.child(FOLDER)
    ledger.delete(SCRATCH)
    Ledger(ledger).compact(minimum=2)
