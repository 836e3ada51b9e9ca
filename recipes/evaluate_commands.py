"""`bakery evaluate`: finished evaluations side by side, those of different outputs too."""

from __future__ import annotations

from typing import Annotated

import typer

from recipes.terminal import console

commands = typer.Typer()


@commands.command()
def evaluate(
    directories: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...", help="finished directories of `evaluate`, or outputs with some; the base first"
        ),
    ],
) -> None:
    """Show benchmarks' figures side by side, and how each differs from the first, case by case."""
    from filters.comparison import NOTE, comparisons
    from recipes.evaluations import comparison_table, find_evaluations

    for found in comparisons(find_evaluations(directories)):
        console.print(comparison_table(found))
        for label, evaluated in found.evaluations.items():
            console.print(f"{label}: {evaluated.behind}", highlight=False, soft_wrap=True)
        for difference in found.differences:
            told = f"{difference.label} less {difference.against}: {difference.words}"
            console.print(told, highlight=False, soft_wrap=True)
        console.print()
    console.print(NOTE, highlight=False)
