"""What a selection decides over: keys of samples, and the values that judges gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.driver_step import Input
from shards.manifest import read_manifest
from shards.selection import kept_keys
from shards.storage import Storage
from shards.tables import questions, read_table

BETWEEN = "/"  # of the parts of a group's name, where several columns name it
# Of no batches, as the first `pa.array` of a process imports pandas, which `bakery check` can do without.
NOTHING = pa.Table.from_batches(
    [], schema=pa.schema({"key": pa.string(), "value": pa.float64(), "status": pa.string()})
)


class SelectError(ValueError):
    """Scores that do not fit the samples or the policy: *where: expected what, got what; the way out*."""


@dataclass(frozen=True)
class Samples:
    """Keys in order of the directory, and each one's group."""

    keys: pa.Array
    groups: pa.Array


def read_samples(of: Input, by: Sequence[str] = ()) -> Samples:
    """The keys that a selection is about, and each one's group: its values of the index columns `by`.

    Raises:
        SelectError: the index has no such column.
    """
    directory, keep = of, None
    while directory.manifest.kind == "selection":
        kept = kept_keys(directory.storage)
        keep = kept if keep is None else keep & kept
        directory = parent_of(directory)
    tables = [_read_index(directory.storage, name, by) for name in directory.storage.names("index")]
    table = pa.concat_tables(tables) if tables else pa.table({"key": pa.array([], pa.string())})
    if keep is not None:
        table = table.filter(pc.is_in(table.column("key"), value_set=pa.array(sorted(keep), pa.string())))
    keys = table.column("key").combine_chunks()
    return Samples(keys, _groups(table, by) if by and table.num_rows else pa.nulls(len(keys), pa.string()))


def _groups(table: pa.Table, by: Sequence[str]) -> pa.Array:
    """The name of each row's group."""
    columns = [table.column(name).combine_chunks().cast(pa.string()) for name in by]
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*(pc.fill_null(column, "") for column in columns), BETWEEN)


def parent_of(selection: Input) -> Input:
    """What a selection selected from."""
    name = selection.manifest.parents["input"][0]
    storage = selection.storage.sibling(name)
    manifest = read_manifest(storage)
    if manifest is None:
        raise SelectError(f"{storage.uri}: expected the directory that was selected from, got none")
    return Input(storage=storage, manifest=manifest)


def _read_index(storage: Storage, name: str, by: Sequence[str]) -> pa.Table:
    with storage.open(f"index/{name}") as file:
        table = pq.ParquetFile(file)
        known = [field.name for field in table.schema_arrow if not pa.types.is_nested(field.type)]
        if unknown := [column for column in by if column not in known]:
            raise SelectError(f"by: expected a column of the index ({', '.join(known)}), got {unknown[0]!r}")
        return table.read(columns=list(dict.fromkeys(["key", *by])))


def read_scores(tables: Sequence[Storage], scores: Sequence[str]) -> dict[str, pa.Table]:
    """Of each score its question's table: key, value, status.

    Raises:
        SelectError: no directory holds the question, or two do.
    """
    held = find_tables(tables, scores)
    if not held:  # judges of no sample write no table
        return dict.fromkeys(scores, NOTHING)
    found = {}
    for score in scores:
        question, _, value = score.partition(".")
        table = read_table(held[question], question, ["key", value or "expected", "status"])
        found[score] = table.rename_columns(["key", "value", "status"])
    return found


def find_tables(tables: Sequence[Storage], scores: Sequence[str]) -> dict[str, Storage]:
    """The directory of each score's question, by question; none at all where no directory holds any.

    Raises:
        SelectError: no directory holds the question, or two do.
    """
    held: dict[str, Storage] = {}
    asked = {score: score.partition(".")[0] for score in scores}
    for storage in {storage.uri: storage for storage in tables}.values():
        for question in questions(storage):
            if question in held and question in asked.values():
                raise SelectError(
                    f"score {question!r}: expected it in one directory of scores, got it in "
                    f"{held[question].uri} and {storage.uri}; leave one of them out"
                )
            held[question] = storage
    for score, question in asked.items():
        if held and question not in held:
            raise SelectError(
                f"score {score!r}: expected a question of {', '.join(sorted(held))}, got {question!r}; "
                "judge it first"
            )
    return {question: held[question] for question in asked.values() if held}
