import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.select import Samples, SelectConfig, SelectError, books, changes, select


def samples(count: int, groups: list[str] | None = None) -> Samples:
    keys = pa.array([f"k{number:05d}" for number in range(count)])
    return Samples(keys, pa.array(groups or [None] * count, pa.string()))


def scores(values: list[float], keys: list[str] | None = None, status: list[str] | None = None) -> pa.Table:
    keys = keys or [f"k{number:05d}" for number in range(len(values))]
    return pa.table(
        {"key": keys, "value": pa.array(values, pa.float64()), "status": status or ["ok"] * len(values)}
    )


def kept(table: pa.Table) -> list[str]:
    return table.filter(table.column("keep")).column("key").to_pylist()


def reasons(table: pa.Table) -> list[str]:
    return table.column("reason").to_pylist()


def test_a_sample_has_the_first_rule_that_rejects_it() -> None:
    policy = SelectConfig(min_scores={"a": 2, "b": 3})
    table = select(samples(4), {"a": scores([1, 2, 3, 1]), "b": scores([1, 1, 3, 9])}, policy)
    assert reasons(table) == ["a < 2", "b < 3", "", "a < 2"]
    assert kept(table) == ["k00002"]


def test_a_missing_score_is_an_error_not_a_drop() -> None:
    with pytest.raises(SelectError, match="got none for 'k00001'"):
        select(samples(2), {"a": scores([1.0], ["k00000"])}, SelectConfig(min_scores={"a": 1}))


def test_a_score_table_of_another_directory_is_an_error() -> None:
    with pytest.raises(SelectError, match="judge the same directory"):
        select(samples(2), {"a": scores([1, 2], ["x", "y"])}, SelectConfig(min_scores={"a": 1}))


def test_an_unreadable_score_rejects_with_that_reason_and_is_never_low() -> None:
    table = select(
        samples(2),
        {"a": scores([float("nan"), 3], status=["unreadable", "ok"])},
        SelectConfig(min_scores={"a": 2}),
    )
    assert reasons(table) == ["a unreadable", ""]


def test_a_score_of_each_reference_counts_by_its_worst_row() -> None:
    table = scores([0.9, 0.2, 0.8], ["k00000", "k00000", "k00001"])
    assert kept(select(samples(2), {"a": table}, SelectConfig(min_scores={"a": 0.5}))) == ["k00001"]
    assert kept(select(samples(2), {"a": table}, SelectConfig(max_scores={"a": 0.85}))) == ["k00001"]


def test_best_keeps_exactly_so_many_by_order() -> None:
    policy = SelectConfig(best=2, order=("a", "b"))
    table = select(samples(4), {"a": scores([1, 3, 3, 3]), "b": scores([9, 1, 2, 3])}, policy)
    assert kept(table) == ["k00002", "k00003"]
    assert reasons(table)[0] == "not among the best 2"


def test_best_counts_in_each_group() -> None:
    policy = SelectConfig(best=1, order=("a",), by="task")
    table = select(samples(4, ["x", "x", "y", "y"]), {"a": scores([1, 2, 4, 3])}, policy)
    assert kept(table) == ["k00001", "k00002"]


def test_ties_do_not_depend_on_the_order_of_the_samples() -> None:
    policy = SelectConfig(best=5, order=("a",))
    forward = select(samples(20), {"a": scores([1.0] * 20)}, policy)
    keys = [f"k{number:05d}" for number in reversed(range(20))]
    backward = select(
        Samples(pa.array(keys), pa.nulls(20, pa.string())), {"a": scores([1.0] * 20, keys)}, policy
    )
    assert set(kept(forward)) == set(kept(backward))


def test_a_policy_without_a_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_scores, max_scores or best"):
        SelectConfig()
    with pytest.raises(ValidationError, match="order"):
        SelectConfig(best=3)


@given(st.lists(st.floats(0, 4), min_size=1, max_size=50), st.floats(0, 4), st.integers(1, 60))
def test_every_sample_is_decided_once_and_the_books_balance(
    values: list[float], least: float, best: int
) -> None:
    policy = SelectConfig(min_scores={"a": least}, best=best, order=("a",))
    table = select(samples(len(values)), {"a": scores(values)}, policy)
    found = books(table)
    found.check("select")
    assert found.made == min(best, sum(value >= least for value in values))


def test_changes_count_what_came_and_what_went() -> None:
    before = select(samples(4), {"a": scores([1, 2, 3, 4])}, SelectConfig(min_scores={"a": 3}))
    after = select(samples(4), {"a": scores([1, 2, 3, 4])}, SelectConfig(max_scores={"a": 3}))
    assert changes(before, after) == {"kept_before": 2, "kept_now": 3, "came": 2, "went": 1}
