"""What an output no longer needs: directories that no recipe names, work that was broken off, crumbs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recipes.identity import directories
from recipes.schema import Recipe
from recipes.trace import finished
from shards.ledger import Ledger
from shards.storage import Storage

KEEP = ("ledger", ".verified")


@dataclass(frozen=True)
class Waste:
    """A folder to delete, with why and how large it is."""

    name: str
    why: str
    size_bytes: int


def waste(out: Storage, recipes: Iterable[Recipe]) -> list[Waste]:
    """Folders that none of the recipes needs: the steps of each, finished or not, are needed."""
    needed = {directory for recipe in recipes for directory in directories(recipe).values()}
    known = {found.manifest.directory for found in finished(out)}
    found = []
    for name in out.folders():
        if name in KEEP or name in needed:
            continue
        if name in known:
            found.append(Waste(name, "no recipe given names it", out.child(name).total_size()))
        elif name == ".tmp" or out.child(name).exists("work"):
            found.append(Waste(name, "broken off", out.child(name).total_size()))
    return found


def collect(out: Storage, found: Iterable[Waste]) -> None:
    """Delete folders and compact the ledger. Only for who holds the lease; the ledger's replies all stay."""
    for entry in found:
        out.delete(entry.name)
        out.delete(f".verified/{entry.name}.json")
    ledger = out.child("ledger")
    ledger.delete(".tmp")
    Ledger(ledger).compact(minimum=2)
