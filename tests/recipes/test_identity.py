"""What a step is, and how two of them differ, told so that a person sees which setting it was."""

from dataclasses import replace

import pytest

from recipes.identity import computed, content, differences, hashes, step_hash
from recipes.schema import load_recipe

RECIPE = """
name: small
steps:
  base: {step: single_candidate, samples: 4, shard_size: 7}
  packed: {step: pack, input: base}
  page: {step: report}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([["a", 1], ["b", 2]], [["b", 2], ["a", 1]], ["rubric: a, b -> b, a"]),
        ([["a", 1], ["b", 2]], [["b", 2], ["a", 3]], ["rubric.a: 1 -> 3"]),
        ([["a", 1]], [], ["rubric: [['a', 1]] -> []"]),
        ([["a", 1], ["b", 2, 3]], [["a", 1]], ["rubric: [['a', 1], ['b', 2, 3]] -> [['a', 1]]"]),
        ([[1, "a"]], [[2, "a"]], ["rubric: [[1, 'a']] -> [[2, 'a']]"]),
        ({"a": {}}, {"a": {"b": None}}, ["rubric.a.b: (none) -> None"]),
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ("ab", "cd", ["rubric: 'ab' -> 'cd'"]),
    ],
)
def test_a_difference_is_told_by_the_name_of_what_differs(old, new, told):
    assert list(differences(old, new, "rubric")) == told


def test_shards_and_the_index_s_format_count_where_a_step_makes_them(recipe):
    base, page = computed(recipe.steps["base"]), computed(recipe.steps["page"])
    assert (base["shard_size"], base["limit"], base["type"]) == (7, None, "single_candidate")
    assert "index" in base
    assert not {"shard_size", "index"} & set(page)
    assert set(content(recipe.steps["base"])) == {"type", "version", "settings"}


def test_a_step_s_hash_follows_its_inputs_by_role_and_order(recipe):
    packed = recipe.steps["packed"]
    known = step_hash(packed, {"input": ["a", "b"]})
    assert step_hash(packed, {"input": ("a", "b")}) == known
    others = [{"input": ["b", "a"]}, {"of": ["a", "b"]}, {"input": ["a"]}, {}]
    assert len({known, *(step_hash(packed, each) for each in others)}) == 5
    assert step_hash(replace(packed, limit=3), {"input": ["a", "b"]}) != known


def test_a_step_that_cannot_be_told_is_named_with_its_recipe(recipe, monkeypatch):
    settings = type(recipe.steps["packed"].settings)

    def refuse(self):
        raise ValueError("no such set")

    monkeypatch.setattr(settings, "computed", refuse)
    with pytest.raises(ValueError, match="no such set") as caught:
        hashes(recipe)
    assert caught.value.__notes__ == [f"in {recipe.path}: steps.packed"]
