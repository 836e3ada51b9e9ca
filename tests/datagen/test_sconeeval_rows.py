"""A row of SconeEval's `data.jsonl`: a case under a key of its own, or a reject that says where and why."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_sets import write_jsonl

import published_benchmarks
from published_benchmarks import keys, plan_of, planned, refused
from shards.plan import Unused
from shards.stage import Planned

# What no case can be made of: a row, the reason, and words of what is told.
GOOD = {
    "key": "bad",
    "instruction": "Paint it.",
    "input_images": ["images/comp-2_0.png", "images/comp-2_1.jpg"],
    "task_type": "distinction_multi_cross",
    "case_type": "C+O",
    "subject_list": [["a cook", "a dog"], ["a lamp"]],
    "subject_label": [[1, 0], [1]],
}
BAD = {
    "too few labels": ({"subject_label": [[1], [1]]}, "subject_mismatch", r"\[2, 1\] subjects and \[1, 1\]"),
    "a list too few": (
        {"subject_list": [["a", "b"]], "subject_label": [[1, 0]]},
        "subject_mismatch",
        "2 refer",
    ),
    "flat lists": (
        {"subject_list": ["a", "b"], "subject_label": [1, 0]},
        "subject_mismatch",
        "a list a refer",
    ),
    "no lists": ({"subject_list": None, "subject_label": None}, "subject_mismatch", "got None"),
    "no candidate": (
        {"subject_list": [[], []], "subject_label": [[], []]},
        "subject_mismatch",
        "a candidate",
    ),
    "a label of 2": ({"subject_label": [[1, 2], [1]]}, "bad_metadata", "expected 0 or 1, got 2"),
    "a label in words": ({"subject_label": [[1, "no"], [1]]}, "bad_metadata", "expected 0 or 1, got 'no'"),
    "a subject that is none": ({"subject_list": [["a", 3], ["b"]]}, "bad_metadata", "expected words, got 3"),
    "labels of a composition": (
        {"task_type": "composition_multi", "subject_label": [[1]]},
        "subject_mismatch",
        "",
    ),
    "unknown task": (
        {"task_type": "composition"},
        "unknown_task",
        "composition_single, .* got 'composition'",
    ),
    "no task": ({"task_type": None}, "unknown_task", "got None"),
    "missing picture": (
        {"input_images": ["images/gone.png"]},
        "missing_image",
        "images/gone.png: expected a file",
    ),
    "escape": ({"input_images": ["../../etc/passwd"]}, "path_escape", "inside the set"),
    "no picture": ({"input_images": []}, "no_reference", "at least one reference"),
    "no words": ({"instruction": "  "}, "empty_instruction", "expected words"),
    "no text": ({"instruction": 7}, "bad_metadata", "instruction: expected text"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_a_reject_with_its_place_and_costs_no_other(tmp_path, name):
    changes, reason, words = BAD[name]
    published_benchmarks.sconeeval(tmp_path, more=[GOOD | changes])
    plan = plan_of(tmp_path)
    assert len(planned(plan)) == 6
    (bad,) = refused(plan).values()
    assert bad.origin == "data.jsonl:7"
    assert bad.reason == reason
    assert re.search(words, bad.detail)


def test_the_row_that_those_are_made_of_is_good(tmp_path):
    published_benchmarks.sconeeval(tmp_path, more=[GOOD, "{broken", '["a list"]'])
    plan = plan_of(tmp_path)
    assert keys(plan)[-1] == "bad"
    assert {origin: each.reason for origin, each in refused(plan).items()} == {
        "data.jsonl:8": "bad_metadata",
        "data.jsonl:9": "bad_metadata",
    }


def test_a_case_goes_by_its_own_key_or_by_one_of_its_content(tmp_path):
    published_benchmarks.sconeeval(tmp_path)
    good = json.loads((tmp_path / "data.jsonl").read_text().splitlines()[0])
    rows = [
        {**good, "key": key, "instruction": f"{n}"}
        for n, key in enumerate([7, "Fox 1", "a-r1", None, "k" * 90])
    ]
    write_jsonl(tmp_path / "data.jsonl", rows)
    plan = planned(plan_of(tmp_path))
    assert plan[0].key == "7"
    assert all(entry.key.startswith("sconeeval-") for entry in plan[1:])
    assert [entry.spec["origin"]["key"] for entry in plan] == ["7", "Fox 1", "a-r1", "", "k" * 90]
    write_jsonl(tmp_path / "data.jsonl", [*reversed(rows)])
    assert {entry.key for entry in planned(plan_of(tmp_path))} == {entry.key for entry in plan}


def test_two_cases_of_one_key_have_keys_of_their_content_whichever_comes_first(tmp_path):
    published_benchmarks.sconeeval(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()[:2]]
    twins = [{**row, "key": "same"} for row in rows]
    write_jsonl(tmp_path / "data.jsonl", [*twins, twins[0]])
    plan = plan_of(tmp_path)
    assert len(set(keys(plan))) == 2
    assert not {"same"} & set(keys(plan))
    assert {origin: each.reason for origin, each in refused(plan).items()} == {
        "data.jsonl:3": "duplicate_record"
    }
    write_jsonl(tmp_path / "data.jsonl", twins[::-1])
    assert set(keys(plan_of(tmp_path))) == set(keys(plan))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "input_image", "licence"]), JSON, min_size=1, max_size=4))
def test_whatever_a_row_holds_it_is_a_case_or_a_reject(tmp_path_factory, changes):
    root = tmp_path_factory.mktemp("any")
    (root / "images").mkdir()
    (root / "images/a.png").write_bytes(b"")
    write_jsonl(root / "data.jsonl", [{**GOOD, "input_images": ["images/a.png"] * 2, **changes}])
    entries = [entry for entry in plan_of(root) if not isinstance(entry, Unused)]
    assert len(entries) == 1
    assert isinstance(entries[0], Planned) or entries[0].origin == "data.jsonl:1"
