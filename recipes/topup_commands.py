"""The command that makes exact counts exact: `bakery topup RECIPE STEP`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.schema import Recipe, RecipeError, load_recipe
from recipes.terminal import console
from shards.storage import Storage

commands = typer.Typer()


@commands.command()
def topup(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="a recipe; its `samples` are raised in place")
    ],
    step: Annotated[str, typer.Argument(metavar="STEP", help="a select step of it, with `best`")],
    out: Annotated[
        str | None, typer.Option("--out", help="output directory or s3:// URI; out/<recipe's name> if unset")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="STEP.KEY=VALUE", help="change a setting; repeatable")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="how often to plan more, at most")] = 4,
) -> None:
    """Plan more of what a selection is short of, make that alone, and select again, until counts are met."""
    from recipes.topup import missing, raises, without, write_samples

    kept = changes or []
    loaded = load_recipe(recipe, kept)
    storage = Storage(out or f"out/{loaded.name}")
    for _ in range(rounds):
        short = missing(loaded, storage, step)
        if not short:
            _run(loaded, storage, step)
            console.print(f"{step}: all counts are met", highlight=False)
            return
        for each in short:
            console.print(f"{step}: {each.words}", highlight=False)
        raised = raises(loaded, storage, step, short)
        write_samples(recipe, raised)
        for one in raised:
            told = "" if len(without(kept, [one])) == len(kept) else "; leave it out of --set from now on"
            words = f"steps.{one.step}.samples: {one.before} -> {one.after}{told}"
            console.print(f"{recipe}: {words}", highlight=False)
        kept = without(kept, raised)
        loaded = load_recipe(recipe, kept)
        _run(loaded, storage, step, before=True)
    short = missing(loaded, storage, step)
    if short:
        told = "; ".join(each.words for each in short)
        message = f"{step}: expected all counts after {rounds} rounds, got {told}; see what is refused: "
        raise RecipeError([message + "`bakery report`; or give --rounds"])
    _run(loaded, storage, step)
    console.print(f"{step}: all counts are met", highlight=False)


def _run(recipe: Recipe, out: Storage, step: str, *, before: bool = False) -> None:
    """Make a step and what it reads; with `before`, what it reads alone."""
    from recipes.display import Display
    from recipes.run import Run
    from recipes.topup import upstream

    names = upstream(recipe, step)
    with Run(recipe, out, Display(console, out, recipe.name)) as run:
        run.execute(only=[name for name in names if not (before and name == step)])
