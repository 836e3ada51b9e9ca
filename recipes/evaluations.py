"""Finished evaluations that a person names, and the table of their figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.table import Table

from filters.comparison import Column, Comparison, signed_words
from filters.evaluated import Evaluated, figure_words, is_evaluated, read_evaluated
from recipes.schema import RecipeError
from recipes.trace import existing, finished, in_line
from shards.manifest import read_manifest
from shards.storage import Storage


def find_evaluations(named: Sequence[str]) -> dict[str, Evaluated]:
    """Evaluations by label, in the order named; of an output all that are in it.

    A label is the step's name, with what was named before it where two share one.

    Raises:
        RecipeError: one is neither an evaluation nor an output that holds one.
    """
    found = {each.uri: (name, each) for name in named for each in _in(name)}
    steps = {uri: read_manifest(storage) for uri, (_, storage) in found.items()}
    names = {uri: manifest.name if manifest else uri for uri, manifest in steps.items()}
    count = Counter(names.values())
    labels = {
        uri: names[uri] if count[names[uri]] == 1 else _path(name, storage)
        for uri, (name, storage) in found.items()
    }
    return {labels[uri]: read_evaluated(storage) for uri, (_, storage) in found.items()}


def _in(name: str) -> Iterator[Storage]:
    out = existing(name.rstrip("/"))
    if read_manifest(out):
        if not is_evaluated(out):
            raise RecipeError([f"{name}: expected a directory of an `evaluate` step, got another step's"])
        yield out
        return
    directories = [each.storage for each in in_line(finished(out)) if is_evaluated(each.storage)]
    if not directories:
        raise RecipeError([f"{name}: expected an output with finished evaluations, got none in it"])
    yield from directories


def _path(name: str, storage: Storage) -> str:
    folder = storage.path().rpartition("/")[2]
    return name if name.rstrip("/").endswith(folder) else f"{name.rstrip('/')}/{folder}"


def comparison_table(comparison: Comparison) -> Table:
    """A row a figure: of every evaluation, then of its difference from the first one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", no_wrap=True)
    for label in comparison.evaluations:
        table.add_column(label, justify="right", overflow="fold")
    compared = [difference for difference in comparison.differences if difference.figures]
    for difference in compared:
        table.add_column(f"{difference.label} less {difference.against}", justify="right", overflow="fold")
    for column in comparison.columns:
        told = [figure_words(column.of(each.figures)) for each in comparison.evaluations.values()]
        for difference in compared:
            figure = column.of(difference.figures) if difference.figures else None
            told.append(signed_words(figure) if figure else "not measured")
        table.add_row(_heading(column), *told)
    return table


def _heading(column: Column) -> str:
    return column.heading if column.subtask is None else f"{column.heading}, {column.measure}"
