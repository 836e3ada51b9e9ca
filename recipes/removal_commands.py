"""Commands that take away: what no recipe names, and samples that must go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.schema import RecipeError, load_recipe
from recipes.terminal import console
from shards.storage import Storage, size_words

commands = typer.Typer()

OutPath = Annotated[str, typer.Argument(metavar="OUT", help="an output directory, e.g. out/demo")]


@commands.command()
def gc(
    out: OutPath,
    recipes: Annotated[
        list[Path], typer.Argument(metavar="RECIPE...", help="recipes whose directories are kept")
    ],
    is_real: Annotated[
        bool, typer.Option("--delete", help="delete; without it only say what would go")
    ] = False,
) -> None:
    """Drop directories that no given recipe names, and work that was broken off. Paid replies stay."""
    from recipes.gc import check_all_there, collect, waste
    from recipes.trace import existing
    from shards.lease import Lease

    storage = existing(out)
    kept = [load_recipe(path) for path in recipes]
    check_all_there(kept)
    with Lease(storage):
        found = waste(storage, kept)
        for entry in found:
            console.print(f"{entry.name}: {entry.why}, {size_words(entry.size_bytes)}", highlight=False)
        total = size_words(sum(entry.size_bytes for entry in found))
        if is_real:
            collect(storage, found)
        told = f"{total} {'deleted' if is_real else 'could go: say --delete'}"
        console.print(told if found else "nothing could go", highlight=False)


@commands.command()
def forget(
    out: OutPath,
    keys: Annotated[Path | None, typer.Option(help="a file with a key a line")] = None,
    source: Annotated[str | None, typer.Option(help="a source as `bakery why` and the index name it")] = None,
    is_real: Annotated[
        bool, typer.Option("--delete", help="do it; without it only say what would go")
    ] = False,
) -> None:
    """Take samples down: what holds them or was made of them goes, and they never come back."""
    from recipes import forget as takedown
    from recipes.trace import existing
    from shards.lease import Lease

    if (keys is None) == (source is None):
        raise RecipeError(["forget: expected either --keys FILE or --source NAME"])
    storage = existing(out)
    with Lease(storage):
        named = takedown.read_keys(Storage(str(keys.absolute().parent)), keys.name) if keys else []
        found = takedown.descendants(storage, named, source)
        gone = takedown.affected(storage, found)
        if source and not found:
            known = ", ".join(sorted(takedown.sources(storage))) or "no source"
            console.print(f"nothing here is of {source}; there are {known}", highlight=False)
        if missing := takedown.unseen(storage, named):
            shown = ", ".join(missing[: takedown.SHOWN])
            console.print(f"in no directory: {len(missing)} of the keys, like {shown}", highlight=False)
        for entry in gone:
            why = f"{entry.rows} of {entry.of} rows" if entry.rows else "made from one that goes"
            console.print(f"{entry.name}: {why}", highlight=False)
        if is_real:
            takedown.forget(storage, found, source, gone)
        told = "taken down" if is_real else "would be taken down: say --delete"
        console.print(
            f"{len(found)} samples in {len(gone)} directories {told}; `bakery run` makes the directories "
            "again without them. Exports lie elsewhere: make them again.",
            highlight=False,
        )
