"""Questions as data: what a rubric file may say, and what is refused by name."""

from dataclasses import replace

import pytest
import yaml

from filters.rubrics import SHIPPED, RubricError, load_questions, pick_questions

GOOD = {
    "version": 1,
    "source": "ours",
    "scope": "reference",
    "images": ["references", "target"],
    "labels": {"no": 0, "yes": 1},
    "text": 'Is "{subject}" of image {number} there?',
}


def write(tmp_path, **changes):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"there": GOOD | changes}))
    return path


def test_shipped_questions_cover_the_papers_scale_and_every_deduction():
    questions = load_questions()
    assert list(questions["consistency"].labels) == ["0", "1", "2", "3", "4"]
    text = questions["consistency"].text.lower()
    for deduction in (
        "face",
        "clothing",
        "body",
        "skin",
        "shape",
        "pattern",
        "material",
        "text",
        "quantities",
    ):
        assert deduction in text
    assert {q.scope for q in questions.values()} == {"sample", "reference", "candidate"}


def test_shipped_questions_show_the_same_images_so_that_a_server_pays_for_them_once():
    of_an_edit = {("raw", "reference"), ("reference", "raw")}
    assert {q.images for q in load_questions().values()} - of_an_edit == {("references", "target")}


def test_questions_come_in_the_order_asked_for():
    assert [q.id for q in pick_questions(["presence", "consistency"])] == ["presence", "consistency"]


def test_unknown_question_is_refused_with_a_suggestion():
    with pytest.raises(RubricError, match="got 'consistancy'; did you mean 'consistency'"):
        pick_questions(["consistancy"])


def test_unknown_placeholder_is_named_at_load(tmp_path):
    with pytest.raises(RubricError, match=r"there: text: expected a placeholder of .*got 'truth'"):
        load_questions(write(tmp_path, text="Is {truth} there?"))


def test_a_placeholder_of_another_scope_is_refused(tmp_path):
    with pytest.raises(RubricError, match=r"scope sample\), got 'number'"):
        load_questions(write(tmp_path, scope="sample", text="Image {number}?"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {False: 0, "yes": 1}}, "expected text, got False; quote it"),
        ({"labels": {"no": 0}}, "at least two labels"),
        ({"labels": {"no": "low", "yes": 1}}, "expected a number, got 'low'"),
        ({"labels": {"no": float("nan"), "yes": 1}}, "expected a number, got nan"),
        ({"labels": {"no": 0, "yes": 1, "Yes": 1.0}}, "expected a value of its own for each"),
        ({"version": "1"}, "expected a whole number from 1, got '1'"),
        ({"scope": "image"}, "expected one of sample, reference, candidate, got 'image'"),
        ({"images": ["mask"]}, "images: expected a list of"),
        ({"scope": "sample", "images": ["reference"], "text": "?"}, "has no one reference"),
        ({"text": ""}, "text: expected text"),
        ({"text": "open { brace"}, "write {{ for a brace"),
        ({"text": "{subject!r}"}, "leave it out"),
        ({"note": "more"}, "expected exactly version"),
    ],
)
def test_a_bad_question_is_a_named_error(tmp_path, changes, message):
    with pytest.raises(RubricError) as caught:
        load_questions(write(tmp_path, **changes))
    assert message in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path):
    with pytest.raises(RubricError) as caught:
        load_questions(write(tmp_path, version=0, scope="image"))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("text", ["[]", "a: [", "3", "Bad-Id: {}"])
def test_a_file_that_is_no_rubric_is_refused(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RubricError, match=r"mine\.yaml: "):
        load_questions(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(RubricError, match=r"none\.yaml"):
        load_questions(tmp_path / "none.yaml")


def test_the_hash_changes_with_all_that_is_asked_and_not_with_the_source():
    question = load_questions(SHIPPED)["presence"]
    assert replace(question, source="elsewhere").hash == question.hash
    changed = [
        replace(question, version=2),
        replace(question, text="Other {subject}"),
        replace(question, labels={"yes": 1.0, "no": 0.0}),
        replace(question, images=("reference", "target")),
    ]
    assert len({question.hash, *(q.hash for q in changed)}) == 5
