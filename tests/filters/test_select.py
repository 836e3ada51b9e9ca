from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from filters.scored import Samples, SelectError, read_samples, read_scores
from filters.select import (
    SelectConfig,
    books,
    changes,
    select,
    shortfalls,
)
from shards.books import Books
from shards.driver_step import Input
from shards.manifest import Manifest, write_manifest
from shards.selection import write_selection
from shards.storage import Storage
from shards.tables import table_of, write_tables


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


def test_a_row_that_is_ok_and_holds_no_value_is_an_error_not_a_pass() -> None:
    with pytest.raises(SelectError, match="expected a value where the status is ok, got none for 'k00001'"):
        select(samples(2), {"a": scores([1.0, float("nan")])}, SelectConfig(min_scores={"a": 1}))


def test_rows_of_samples_that_are_not_decided_count_for_nothing() -> None:
    table = scores([1, 5, 0, 4], ["other", "k00001", "another", "k00000"])
    assert kept(select(samples(2), {"a": table}, SelectConfig(min_scores={"a": 4}))) == ["k00000", "k00001"]
    with pytest.raises(SelectError, match="got none for 'k00002' and 0 more"):
        select(samples(3), {"a": table}, SelectConfig(min_scores={"a": 4}))


def test_rows_in_another_order_are_decided_alike() -> None:
    policy = SelectConfig(min_scores={"a": 2}, best=2, order=("a",))
    table = scores([1, 4, 3, 5])
    assert select(samples(4), {"a": table.take([2, 0, 3, 1])}, policy).equals(
        select(samples(4), {"a": table}, policy)
    )


def test_a_question_of_two_judges_is_refused(tmp_path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "scores").mkdir(parents=True)
        write_tables([table_of([])], tmp_path / name / "scores/a.parquet")
    both = [Storage(str(tmp_path / name)) for name in ("one", "two")]
    with pytest.raises(
        SelectError, match=r"'a': expected it in one directory of scores, got it in .*one and"
    ):
        read_scores(both, ["a.mode"])
    assert read_scores([both[0], both[0]], ["a"])["a"].num_rows == 0


def test_of_nothing_that_was_kept_nothing_is_selected(tmp_path) -> None:
    (tmp_path / "base-000000000000/index").mkdir(parents=True)
    pq.write_table(
        pa.table({"key": ["k"], "task": ["t"]}), tmp_path / "base-000000000000/index/00000.parquet"
    )
    fields = {"hash": "0" * 64, "config": {}, "books": Books()}
    base = Manifest(name="base", type="t", kind="samples", **fields)
    none = Manifest(
        name="none", type="select", kind="selection", parents={"input": [base.directory]}, **fields
    )
    for manifest in (base, none):
        write_manifest(Storage(str(tmp_path / manifest.directory)), manifest)
    nothing = pa.table({"key": ["k"], "keep": [False], "reason": ["bad"]})
    write_selection(nothing, tmp_path / none.directory / "selection.parquet")
    of = Input(storage=Storage(str(tmp_path / none.directory)), manifest=none)
    judged = Input(storage=Storage(str(tmp_path / "judged")), manifest=base)  # of no sample there is no table
    policy = SelectConfig(min_scores={"consistency": 3}, best=5, order=("consistency",), by="task")
    _, table = policy.decide({"input": [of], "scores": [judged]})
    assert (table.num_rows, books(table)) == (0, Books())


def test_a_selection_of_a_selection_is_about_what_both_kept(tmp_path) -> None:
    before = Manifest(name="base", type="t", kind="samples", hash="0" * 64, config={})
    (tmp_path / before.directory / "index").mkdir(parents=True)
    index = pa.table({"key": [f"k{number}" for number in range(4)], "task": list("wxyz")})
    pq.write_table(index, tmp_path / before.directory / "index/00000.parquet")
    write_manifest(Storage(str(tmp_path / before.directory)), before)
    one = {"k1": True, "k3": True, "k0": False, "k2": True}
    for name, keep in (("one", one), ("two", {"k1": False, "k2": False, "k3": True})):
        table = pa.table({"key": list(keep), "keep": list(keep.values()), "reason": [""] * len(keep)})
        parents = {"input": [before.directory]}
        before = Manifest(
            name=name, type="select", kind="selection", hash="0" * 64, config={}, parents=parents
        )
        (tmp_path / before.directory).mkdir()
        write_selection(table, tmp_path / before.directory / "selection.parquet")
        write_manifest(Storage(str(tmp_path / before.directory)), before)
    of = Input(storage=Storage(str(tmp_path / before.directory)), manifest=before)
    found = read_samples(of, ["task"])
    assert (found.keys.to_pylist(), found.groups.to_pylist()) == (["k3"], ["z"])
    (tmp_path / "one-000000000000/manifest.json").unlink()
    with pytest.raises(SelectError, match="expected the directory that was selected from, got none"):
        read_samples(of, ["task"])


def test_a_score_that_no_judge_gave_is_refused_with_those_there_are(tmp_path) -> None:
    (tmp_path / "scores").mkdir()
    write_tables([table_of([])], tmp_path / "scores/a.parquet")
    with pytest.raises(SelectError, match=r"score 'b\.mode': expected a question of a, got 'b'"):
        read_scores([Storage(str(tmp_path))], ["a", "b.mode"])


def test_groups_are_a_column_of_words_or_numbers(tmp_path) -> None:
    (tmp_path / "index").mkdir()
    nested = pa.table({"key": ["k"], "task": ["t"], "members": [[{"name": "n"}]]})
    pq.write_table(nested, tmp_path / "index/00000.parquet")
    manifest = Manifest(name="m", type="t", hash="0" * 64, kind="samples", config={})
    of = Input(storage=Storage(str(tmp_path)), manifest=manifest)
    assert read_samples(of, ["task"]).groups.to_pylist() == ["t"]
    with pytest.raises(SelectError, match=r"by: expected a column of the index \(key, task\), got 'members'"):
        read_samples(of, ["members"])


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


def test_of_groups_each_has_its_own_best_and_one_without_has_none() -> None:
    policy = SelectConfig(min_scores={"a": 1}, best={"x": 1, "y": 2, "w": 3}, order=("a",), by="task")
    groups = ["y", "x", "z", "x", "y", "y", "x", None]
    given = samples(8, groups)
    table = select(given, {"a": scores([3, 2, 9, 4, 0, 1, 5, 9])}, policy)
    assert kept(table) == ["k00000", "k00005", "k00006"]
    assert reasons(table)[1:5] == [
        "not among the best 1", "not among the best 0", "not among the best 1", "a < 1",
    ]  # fmt: skip
    assert [short.words for short in shortfalls(given, table, policy)] == ["w: 0 of 3, 0 of 0 samples passed"]


def test_a_shortfall_is_told_for_each_group_in_order_of_names() -> None:
    given = samples(5, ["y", "x", "y", "y", "x"])
    policy = SelectConfig(min_scores={"a": 3}, best=2, order=("a",), by="task")
    table = select(given, {"a": scores([1, 2, 3, 1, 4])}, policy)
    assert [short.words for short in shortfalls(given, table, policy)] == [
        "x: 1 of 2, 1 of 2 samples passed (50%)",
        "y: 1 of 2, 1 of 3 samples passed (33%)",
    ]
    alone = SelectConfig(min_scores={"a": 3}, best=3, order=("a",))
    told = shortfalls(samples(5), select(samples(5), {"a": scores([1, 2, 3, 1, 4])}, alone), alone)
    assert [short.words for short in told] == ["2 of 3, 2 of 5 samples passed (40%)"]


def test_several_columns_make_groups_of_groups(tmp_path) -> None:
    (tmp_path / "index").mkdir()
    index = pa.table(
        {"key": [f"k{n:05d}" for n in range(6)], "task": list("ppqqqp"), "references": [1, 2, 1, 1, 2, 1]}
    )
    pq.write_table(index, tmp_path / "index/00000.parquet")
    manifest = Manifest(name="m", type="t", hash="0" * 64, kind="samples", config={})
    of = Input(storage=Storage(str(tmp_path)), manifest=manifest)
    best = {"p": {"1": 1, "2": 2}, "q": {"1": 1, "2": 0}}
    policy = SelectConfig(min_scores={"a": 1}, best=best, order=("a",), by=("task", "references"))
    assert policy.best == {"p/1": 1, "p/2": 2, "q/1": 1, "q/2": 0}
    given = read_samples(of, policy.columns)
    table = select(given, {"a": scores([1, 2, 3, 4, 5, 6])}, policy)
    assert kept(table) == ["k00001", "k00003", "k00005"]
    assert [short.words for short in shortfalls(given, table, policy)] == [
        "p/2: 1 of 2, 1 of 1 samples passed (100%)"
    ]
    again = SelectConfig.model_validate(policy.model_dump(mode="json"))
    assert again == policy
    each = SelectConfig(best=1, order=("a",), by=("task", "references"))
    assert kept(select(given, {"a": scores([1, 2, 3, 4, 5, 6])}, each)) == [
        "k00001", "k00003", "k00004", "k00005",
    ]  # fmt: skip


@pytest.mark.parametrize("by", [None, "task"])
def test_of_nothing_that_was_to_be_exact_all_is_short(by) -> None:
    policy = SelectConfig(best=3, order=("a",), by=by, exact=True)
    table = select(samples(0), {"a": scores([])}, policy)
    assert [short.words for short in shortfalls(samples(0), table, policy)] == [
        "0 of 3, 0 of 0 samples passed"
    ]


def test_groups_that_no_sample_has_are_refused_with_those_there_are() -> None:
    policy = SelectConfig(best={"compositon": 1}, order=("a",), by="task")
    with pytest.raises(SelectError, match=r"best: expected groups that task has \(x, y\), got compositon"):
        select(samples(2, ["x", "y"]), {"a": scores([1, 2])}, policy)


def test_groups_without_a_best_are_refused() -> None:
    with pytest.raises(ValidationError, match="how many of each group"):
        SelectConfig(min_scores={"a": 1}, by="task")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"best": {"x": 1}, "order": ("a",)}, "which column names the groups"),
        (
            {"best": {"x": {"y": 1}, "z": 2}, "order": ("a",), "by": ("task", "case")},
            "expected groups of task/case, one inside the other, got 'z'",
        ),
        ({"min_scores": {"a": 1}, "exact": True}, "how many there are to be"),
        ({"min_scores": {"a.median": 1}}, "got 'a.median'"),
        ({"max_share": {"check_phrase": 0.5}}, "`order` beside `max_share`"),
        ({"max_share": {"a": 0.5, "b": 0.5}, "order": ("a",)}, "at most 1 item"),
        ({"max_share": {"a": 1.5}, "order": ("a",)}, "less than or equal to 1"),
        ({"max_share": {"consistency": 0.5}, "order": ("a",)}, "a score of 0 or 1, got one of 0 to 4"),
        ({"min_scores": {"check_phrase": 2}}, "check_phrase: expected 0 to 1, got 2"),
    ],
)
def test_rules_that_lack_another_are_refused(rules, told) -> None:
    with pytest.raises(ValidationError, match=told):
        SelectConfig(**rules)


def test_of_a_kind_no_more_than_its_share_is_kept_and_of_it_the_best() -> None:
    policy = SelectConfig(best=5, order=("a",), max_share={"b": 0.4})
    given = {"a": scores([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]), "b": scores([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])}
    found = select(samples(10), given, policy)
    assert kept(found) == ["k00000", "k00001", "k00005", "k00006", "k00007"]
    beyond, rest = "b in more than 0.4 of the kept", "not among the best 5"
    assert reasons(found) == ["", "", *[beyond] * 3, "", "", "", rest, rest]


def test_without_a_number_a_share_keeps_all_that_it_can() -> None:
    policy = SelectConfig(order=("a",), max_share={"b": 0.25})
    given = {"a": scores([1, 2, 3, 4, 5, 6]), "b": scores([0, 0, 0, 1, 1, 1])}
    assert kept(select(samples(6), given, policy)) == ["k00000", "k00001", "k00002", "k00005"]


def test_a_share_of_none_or_of_all_is_no_share() -> None:
    given = {"a": scores([4, 3, 2, 1]), "b": scores([1, 1, 1, 1])}
    for share, expected in ((0, []), (1, ["k00000", "k00001"])):
        policy = SelectConfig(best=2, order=("a",), max_share={"b": share})
        assert kept(select(samples(4), given, policy)) == expected


def test_a_share_that_is_not_set_is_in_no_hash() -> None:
    assert "max_share" not in SelectConfig(best=1, order=("a",)).computed()
    shared = SelectConfig(best=1, order=("a",), max_share={"b": 0.5}).computed()
    assert shared["max_share"] == {"b": 0.5}


def by_rank(values: pa.Table) -> list[str]:
    """Keys, the best first: each is what one more lets in."""
    found: list[str] = []
    for count in range(1, values.num_rows + 1):
        best = select(samples(values.num_rows), {"a": values}, SelectConfig(best=count, order=("a",)))
        found += set(kept(best)) - set(found)
    return found


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.booleans(), st.integers(0, 5)), min_size=1, max_size=24),
    st.sampled_from([0, 0.1, 0.25, 1 / 3, 0.5, 0.9]),
    st.integers(1, 6),
)
def test_the_share_holds_in_what_is_kept_and_one_more_would_break_it(rows, share, best) -> None:
    """Against trying every number of the kind, the best of it first."""
    groups, kinds, values = (list(column) for column in zip(*rows, strict=True))
    grouped = samples(len(rows), groups)
    given_scores = {"a": scores([float(v) for v in values]), "b": scores([float(k) for k in kinds])}
    policy = SelectConfig(best=best, by="case", order=("a",), max_share={"b": share})
    found = select(grouped, given_scores, policy)
    is_kind = dict(zip(grouped.keys.to_pylist(), kinds, strict=True))
    ranked = by_rank(given_scores["a"])
    of_kind = [key for key in ranked if is_kind[key]]
    possible = []
    for count in range(len(of_kind) + 1):
        allowed = {key for key in ranked if not is_kind[key]} | set(of_kind[:count])
        taken = []
        for group in "xyz":
            members = [k for k in ranked if k in allowed and groups[int(k[1:])] == group]
            taken += members[:best]
        if sum(is_kind[k] for k in taken) <= Fraction(str(share)) * len(taken):
            possible.append(sorted(taken))
    assert kept(found) == possible[-1]


def test_ties_do_not_depend_on_the_order_of_the_samples() -> None:
    policy = SelectConfig(best=5, order=("a",))
    forward = select(samples(20), {"a": scores([1.0] * 20)}, policy)
    keys = [f"k{number:05d}" for number in reversed(range(20))]
    backward = select(
        Samples(pa.array(keys), pa.nulls(20, pa.string())), {"a": scores([1.0] * 20, keys)}, policy
    )
    assert set(kept(forward)) == set(kept(backward))


def test_a_policy_without_a_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_scores, max_scores, max_share or best"):
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


@pytest.mark.parametrize("policy", [["paper"], {"paper": 1}, 3])
def test_a_policy_that_is_no_name_is_refused(policy) -> None:
    with pytest.raises(ValidationError, match="policy"):
        SelectConfig.model_validate({"policy": policy, "min_scores": {"consistency": 3}})


def test_changes_count_what_came_and_what_went() -> None:
    before = select(samples(4), {"a": scores([1, 2, 3, 4])}, SelectConfig(min_scores={"a": 3}))
    after = select(samples(4), {"a": scores([1, 2, 3, 4])}, SelectConfig(max_scores={"a": 3}))
    assert changes(before, after) == {"kept_before": 2, "kept_now": 3, "came": 2, "went": 1}
