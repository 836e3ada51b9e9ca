"""Which records of a set are wanted: conditions, drawing, and what cannot be taken."""

import pytest
from pydantic import ValidationError

from datagen.importers.records import Choice, Range, Record, holds, list_of, text_of
from datagen.importers.source import SourceError
from datagen.unusable import UnusableError
from shards.plan import Refused, Unused
from shards.stage import Planned


def taken(_record):
    """Any record is."""


def records(count):
    return [
        Record(place=f"x.jsonl:{n}", identity=n, spec={"n": n}, columns={"side": n, "kind": "ab"[n % 2]})
        for n in range(count)
    ]


def plan(given, check=taken, **changes):
    choice = {"prefix": "p", "where": {}, "sample": None, "seed": 1, "check": check}
    found = list(Choice(**(choice | changes)).plan(lambda: iter(given)))
    numbers = [entry.spec["n"] for entry in found if isinstance(entry, Planned)]
    refused = [(e.origin, e.reason) for e in found if isinstance(e, Refused)]
    (unused,) = (entry.count for entry in found if isinstance(entry, Unused))
    return numbers, refused, unused


@pytest.mark.parametrize(
    ("rule", "right", "wrong"),
    [
        ({"min": 2}, [2, 2.5, 1e9], [1.99, None, True, "3", float("nan")]),
        ({"max": 2}, [2, -5], [2.01, None, False, "1", float("nan")]),
        ({"min": 1, "max": 2}, [1, 1.5, 2], [0.9, 2.1]),
        ({"not": ["a", 3]}, ["b", 2, True, [3]], ["a", 3, None]),
        ({"min": 0, "not": [3]}, [2, 4], [3, -1, "b"]),
    ],
)
def test_a_range_holds_its_bounds_and_never_what_is_missing_or_no_number(rule, right, wrong):
    asked = Range(**rule)
    assert [value for value in right if not holds(asked, value)] == []
    assert [value for value in wrong if holds(asked, value)] == []


@pytest.mark.parametrize("rule", [{}, {"min": None}, {"not": []}, {"least": 3}, {"min": 1, "mx": 2}])
def test_a_range_that_says_nothing_or_what_nobody_knows_is_refused(rule):
    with pytest.raises(ValidationError):
        Range(**rule)


def test_records_that_fit_are_planned_in_the_set_s_order_and_the_others_are_unused():
    assert plan(records(6)) == ([0, 1, 2, 3, 4, 5], [], 0)
    assert plan(records(6), where={"kind": "b"}) == ([1, 3, 5], [], 3)
    assert plan(records(6), where={"kind": ("a", "b"), "side": Range(min=4)}) == ([4, 5], [], 4)


def test_a_drawing_of_more_holds_the_smaller_one_and_others_change_nothing_of_it():
    few, _, unused = plan(records(40), sample=5)
    more, _, _ = plan(records(40), sample=9)
    assert (len(few), unused, few) == (5, 35, sorted(few))
    assert set(few) < set(more)
    grown, _, _ = plan(records(80), sample=9)
    assert {n for n in grown if n < 40} <= set(more)
    assert plan(records(40), sample=5, seed=2)[0] != few
    assert plan(records(3), sample=5) == ([0, 1, 2], [], 0)
    assert plan([], sample=5) == ([], [], 0)


def test_a_record_that_cannot_be_taken_is_refused_and_another_is_drawn_in_its_place():
    def check(record):
        if record.spec["n"] in drawn:
            raise UnusableError("bad_licence", "not for us")

    drawn, _, _ = plan(records(20), sample=4)
    others, refused, unused = plan(records(20), check, sample=4)
    assert not set(others) & set(drawn)
    assert refused == [(f"x.jsonl:{n}", "bad_licence") for n in drawn]
    assert (len(others), unused) == (4, 12)


def test_a_record_that_came_before_or_is_no_json_is_refused_by_its_place():
    twice = Record(place="x.jsonl:9", identity=1, spec={"n": 9})
    own = [Record(place=f"y:{n}", identity=n, spec={"n": n}, key="mine") for n in range(2)]
    broken = Record(place="z", identity=7, spec={"n": float("inf")})
    unread = Refused(origin="w", reason="bad_metadata")
    numbers, refused, unused = plan([*records(3), twice, *own, broken, unread])
    assert (numbers, unused) == ([0, 1, 2, 0], 0)
    assert refused == [
        ("x.jsonl:9", "duplicate_record"),
        ("y:1", "duplicate_record"),
        ("z", "bad_metadata"),
        ("w", "bad_metadata"),
    ]


def test_a_condition_on_a_column_that_no_record_has_names_those_there_are():
    with pytest.raises(SourceError, match="where: expected columns of kind, side, got 'sides'"):
        plan(records(2), where={"kind": "a", "sides": 3})
    bare = [Record(place="x", identity=1, spec={"n": 1})]
    assert plan(bare, where={"kind": "a"}) == ([], [], 1)  # a set without columns has none to name


@pytest.mark.parametrize("value", [[], {}, None, 3, {"a": 1}])
def test_a_list_is_a_list_or_one_text(value):
    assert list_of("one.png", "references") == ["one.png"]
    assert list_of(["a", 1], "references") == ["a", 1]
    with pytest.raises(UnusableError, match="references: expected a list, got"):
        list_of(value, "references")


@pytest.mark.parametrize("value", [None, 3, ["a"]])
def test_a_text_is_a_text(value):
    assert text_of("", "instruction") == ""
    with pytest.raises(UnusableError, match="instruction: expected text, got"):
        text_of(value, "instruction")
