"""Named policies: what they stand for, and thresholds that no score can meet."""

import pytest
from pydantic import ValidationError

from filters.checks import ALL, CHECKS
from filters.rubrics import load_questions
from filters.select import POLICIES, SelectConfig


def test_the_papers_policy_keeps_a_mode_of_four_only():
    assert SelectConfig(policy="paper").min_scores == {"consistency.mode": 4}


def test_a_policy_hashes_as_the_rules_it_stands_for():
    written = SelectConfig(min_scores={"consistency.mode": 4})
    assert SelectConfig(policy="paper").computed() == written.computed()


def test_a_rule_beside_a_policy_takes_its_place():
    refined = SelectConfig(policy="refined", best=100)
    assert refined.best == 100
    assert refined.order == ("consistency", "instruction_following")


def test_policies_read_scores_of_shipped_questions_and_checks():
    named = {score.partition(".")[0] for policy in POLICIES for score in SelectConfig(policy=policy).scores}
    assert named <= {*load_questions(), *CHECKS, ALL}


def test_an_unknown_policy_is_refused_with_those_there_are():
    with pytest.raises(ValidationError, match="'paper', 'refined' or 'verified'"):
        SelectConfig(policy="papers")


@pytest.mark.parametrize(
    "rules",
    [
        {"min_scores": {"consistency": 4.5}},
        {"max_scores": {"presence": -1}},
        {"min_scores": {"consistency.label_mass": 2}},
    ],
)
def test_a_threshold_outside_the_scale_is_refused(rules):
    with pytest.raises(ValidationError, match="it would decide nothing"):
        SelectConfig(**rules)
