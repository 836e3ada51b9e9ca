"""A mix is exact, seeded, balanced, or says which source ran short."""

import tracemalloc
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from shards import row_columns
from shards.mix import MixConfig, MixError, apportion
from shards.plan import Refused
from shards.row_columns import RowColumns
from shards.stage import IndexRow


def rows(source, count, references=lambda n: 1 + n % 2, directory=0, category=lambda n: ""):
    return [
        IndexRow(
            key=f"{source}-{n}",
            task="composition_single",
            case="object",
            source=source,
            licence="mit",
            references=references(n),
            directory=directory,
            shard=n // 10,
            row=n % 10,
            category=category(n),
        )
        for n in range(count)
    ]


def drawn(config, given):
    return [entry.parents[0] for entry in config.plan(given) if not isinstance(entry, Refused)]


def test_weights_give_the_exact_number_in_shares():
    given = rows("a", 100) + rows("b", 100, directory=1) + rows("c", 100, directory=2)
    found = Counter(
        row.source for row in drawn(MixConfig(samples=101, weights={"a": 1, "b": 2, "c": 1}), given)
    )
    assert sum(found.values()) == 101
    assert found["b"] in (50, 51)
    assert apportion(10, {"a": 1, "b": 2}) == {"a": 3, "b": 7}, "what is left goes to the largest remainder"


def test_counts_are_taken_as_they_are_and_other_sources_are_left_out():
    found = drawn(MixConfig(counts={"a": 7}), rows("a", 20) + rows("b", 20))
    assert Counter(row.source for row in found) == {"a": 7}


def test_a_source_that_runs_short_is_named_with_what_there_is():
    with pytest.raises(MixError, match=r"expected 30 of a, got 20; .*hold a \(20\), b \(50\)"):
        drawn(MixConfig(counts={"a": 30, "b": 10}), rows("a", 20) + rows("b", 50))
    with pytest.raises(MixError, match="10 of c, got 0"):
        drawn(MixConfig(counts={"c": 10}), rows("a", 20))


def test_a_weight_for_what_no_input_holds_is_an_error_however_small():
    with pytest.raises(MixError, match=r"expected 1 of aa, got 0; the inputs hold a \(50\)"):
        drawn(MixConfig(samples=10, weights={"a": 1, "aa": 0.01}), rows("a", 50))


def test_numbers_of_references_may_be_written_as_numbers():
    found = drawn(MixConfig(by="references", counts={1: 3, 2: 4}), rows("a", 50))
    assert Counter(row.references for row in found) == {1: 3, 2: 4}
    assert MixConfig(by="references", counts={1: 3}) == MixConfig(by="references", counts={"1": 3})


def test_the_draw_is_seeded_and_does_not_depend_on_the_order_of_the_inputs():
    given = rows("a", 50) + rows("b", 50)
    one = {row.key for row in drawn(MixConfig(samples=20, seed=1), given)}
    assert one == {row.key for row in drawn(MixConfig(samples=20, seed=1), given[::-1])}
    assert one != {row.key for row in drawn(MixConfig(samples=20, seed=2), given)}


def test_a_larger_draw_holds_the_smaller():
    given = rows("a", 50)
    small = {row.key for row in drawn(MixConfig(samples=10), given)}
    assert small < {row.key for row in drawn(MixConfig(samples=20), given)}


def test_balance_evens_out_a_column_as_far_as_there_is_data():
    given = rows("a", 100, references=lambda n: 1 if n % 10 else 3)
    found = Counter(row.references for row in drawn(MixConfig(samples=50, balance="references"), given))
    assert found == {3: 10, 1: 40}


def test_categories_are_evened_out_or_drawn_by_count():
    given = rows("a", 100, category=lambda n: ("animal", "plant", "animal+plant")[min(n % 20, 2)])
    found = Counter(row.category for row in drawn(MixConfig(samples=20, balance="category"), given))
    assert found == {"animal": 5, "plant": 5, "animal+plant": 10}
    counts = MixConfig(counts={"animal": 3, "plant": 2}, by="category")
    assert Counter(row.category for row in drawn(counts, given)) == {"animal": 3, "plant": 2}


def test_a_key_of_two_inputs_is_taken_once_and_told():
    entries = list(MixConfig(samples=5).plan(rows("a", 5) + rows("a", 5, directory=1)))
    refused = [entry.reason for entry in entries if isinstance(entry, Refused)]
    assert refused == ["duplicate_key"] * 5
    assert len(entries) == 10


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"samples": 5, "counts": {"a": 1}},
        {"samples": 5, "weights": {"a": 0}},
        {"counts": {"a": 1}, "weights": {"a": 1}},
        {"counts": {"a": 1, "b": 0}},
    ],
)
def test_a_mix_that_says_too_little_or_too_much_is_refused(settings):
    with pytest.raises(ValidationError):
        MixConfig(**settings)


def test_rows_are_held_as_columns_until_some_are_drawn():
    """The same rows in the same order whatever fits into a batch, and few bytes each."""
    given = rows("a", 1000, category=lambda n: f"kind {n % 7}") + rows("b", 1000, directory=1)
    held = RowColumns()
    numbers = [held.add(row) for row in given]
    assert numbers == list(range(2000))
    wanted = np.array(numbers)[::-3]
    assert list(held.in_order(wanted)) == [given[number] for number in wanted[::-1]]


def test_a_mix_holds_few_bytes_of_each_row(monkeypatch):
    monkeypatch.setattr(row_columns, "BATCH", 256)
    config = MixConfig(samples=100, balance="references")

    def held_bytes(count):
        made = (row for number in range(count) for row in rows(f"s{number}", 1, directory=number))
        arrow = pa.total_allocated_bytes()
        plan = config.model_copy(update={"by": "task"}).plan(made)
        tracemalloc.start()
        try:
            next(plan)
            return tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - arrow
        finally:
            tracemalloc.stop()

    held_bytes(200)
    assert held_bytes(12_000) - held_bytes(2000) < 250 * 10_000
