"""The plan of multi-candidate samples by models: exact cells, and settings that cannot work."""

from collections import Counter

import pytest
from pydantic import ValidationError

from composed_samples import ROWS
from datagen.kinds import ADD_CASES, add_case, kinds_of_row
from datagen.multi_candidate import MultiCandidateConfig
from datagen.served_plan import Cell, cell_counts


def test_all_seven_case_types_cross_and_intra_are_planned_exactly():
    config = MultiCandidateConfig(samples=70, swap=0.4, rounds=4, writer=model(), editor=model(does=["edit"]))
    counts = Counter((p.spec["case"], p.spec["relation"]) for p in config.plan(ROWS))
    assert counts == {
        **{(case, relation): 7 for case in ("character", "object") for relation in ("cross", "intra")},
        **{(case, relation): n for case in ADD_CASES for relation, n in counts_of_add(counts, case)},
    }
    assert sum(counts.values()) == 70
    assert all(abs(n - 4.2) < 1 for (case, _), n in counts.items() if "+" in case)


def counts_of_add(counts, case):
    return [(relation, counts[case, relation]) for relation in ("cross", "intra")]


def model(**changes):
    return {"model": "m", "revision": "r", **changes}


def test_weights_of_cases_and_relations_are_met():
    cases = {"character": 3, "object": 1, "character+object": 1}
    config = MultiCandidateConfig(
        samples=160, swap=0.5, intra=0.25, cases=cases, writer=model(), editor=model()
    )
    assert cell_counts(config)[Cell("character", "intra")] == 15
    assert cell_counts(config)[Cell("character", "cross")] == 45
    assert cell_counts(config)[Cell("character+object", "intra")] == 20
    assert cell_counts(config)[Cell("object+object", "cross")] == 0


def test_a_plan_uses_no_parent_that_cannot_serve():
    config = MultiCandidateConfig(samples=200, rounds=1, writer=model(), editor=model())
    for planned in config.plan(ROWS):
        kinds = kinds_of_row(planned.parents[0])
        case, relation = planned.spec["case"], planned.spec["relation"]
        if "+" in case:
            assert add_case(kinds) == case
        else:
            assert (kinds.count(case) > 1) == (relation == "intra")


@pytest.mark.parametrize("longer", [40, 57, 140])
def test_a_longer_plan_holds_the_shorter_one_so_that_a_top_up_pays_for_nothing_again(longer):
    settings = {"swap": 0.5, "rounds": 4, "position": 0.3, "writer": model(), "editor": model()}
    short, more = (
        {p.key: p.spec for p in MultiCandidateConfig(samples=samples, **settings).plan(ROWS)}
        for samples in (30, longer)
    )
    assert len(short) == 30
    assert len(more) == longer
    assert {key: more.get(key) for key in short} == short


@pytest.mark.parametrize("share", [0, 0.35, 1])
def test_positions_and_styles_come_in_their_shares(share):
    styles = {"image 1": 3, "the first photo": 1}
    settings = {"swap": 1.0, "rounds": 4, "styles": styles, "position": share}
    config = MultiCandidateConfig(samples=80, **settings, writer=model(), editor=model())
    planned = [entry.spec for entry in config.plan(ROWS)]
    assert 80 * share - 4 < sum(spec["position"] for spec in planned) <= 80 * share  # four cells
    assert Counter(spec["style"] for spec in planned)["image 1"] == pytest.approx(60, abs=4)


def test_of_models_only_what_is_set_is_in_the_hash_of_an_embedded_step():
    one, two = MultiCandidateConfig(samples=1), MultiCandidateConfig(samples=1, edit_px=512)
    assert one.computed() == two.computed()
    assert not {"writer", "editor", "cases", "prompts"} & set(one.computed())
    served = MultiCandidateConfig(samples=1, editor=model(endpoints=["http://a:1"]))
    assert served.computed() == MultiCandidateConfig(samples=1, editor=model(in_flight=2)).computed()
    assert "prompts" in served.content()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"writer": model()}, "editor: expected one beside `writer`"),
        ({"editor": model(does=["generate"])}, "editor.does: expected edit"),
        ({"editor": model(), "faults": {"wrong_index": 0.1}}, "only the renderer can make them"),
        ({"editor": model(), "cases": {"character": 1}}, "cases: expected one of character"),
        ({"editor": model(), "cases": {"scene": 1}}, "cases: expected names of"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        MultiCandidateConfig(samples=1, **changes)
