import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.select import Samples, SelectConfig, select
from filters.shortfall import Group, ShortfallError, enough


def decide(values, groups, **policy):
    keys = pa.array([f"k{number:03d}" for number in range(len(values))])
    table = pa.table({"key": keys, "value": pa.array(values, pa.float64()), "status": ["ok"] * len(values)})
    found = select(
        Samples(keys, pa.array(groups, pa.string())), {"a": table}, SelectConfig(order=("a",), **policy)
    )
    return found.filter(found.column("keep")).column("key").to_pylist(), found.column("reason").to_pylist()


def test_counts_keep_the_best_of_each_named_group_and_none_of_another():
    kept, reasons = decide([1, 3, 2, 4, 9], ["x", "x", "x", "y", "z"], by="case", counts={"x": 2, "y": 1})
    assert kept == ["k001", "k002", "k003"]
    assert reasons == ["not among the best 2", "", "", "", "case not wanted"]


def test_a_selection_that_must_be_exact_names_each_short_group_its_wish_and_its_yield():
    policy = {"by": "case", "counts": {"x": 2, "y": 1, "w": 3}, "min_scores": {"a": 2}, "exact": True}
    with pytest.raises(ShortfallError) as caught:
        decide([1, 3, 1, 4], ["x", "x", "x", "y"], **policy)
    assert [group.name for group in caught.value.groups] == ["x", "w"]
    assert "x: wanted 2, good 1 of 3 (yield 33.3%); w: wanted 3, good 0 of 0" in str(caught.value)


def test_one_number_for_all_that_is_there_can_be_exact_too():
    with pytest.raises(ShortfallError, match="all: wanted 3, good 2 of 2"):
        decide([1, 2], [None, None], best=3, exact=True)
    assert len(decide([1, 2, 3], [None] * 3, best=2, exact=True)[0]) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counts": {"x": 1}}, "with `by`"),
        ({"counts": {"x": 1}, "by": "case", "best": 2}, "without `best`"),
        ({"counts": {"x": 0}, "by": "case"}, "counts of 1 or more"),
        ({"min_scores": {"a": 1}, "exact": True}, "beside `exact`"),
    ],
)
def test_counts_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SelectConfig(order=("a",), **settings)


@given(
    planned=st.integers(1, 1000),
    read=st.integers(1, 1000),
    share=st.floats(0.01, 1),
    wanted=st.integers(1, 2000),
)
def test_enough_is_enough_where_the_yield_holds(planned, read, share, wanted):
    good = max(1, int(read * share))
    more = enough(planned, [Group(name="x", wanted=wanted, read=read, good=good)])
    assert more * good >= wanted * planned or good >= wanted
    assert more >= planned
