"""Two parts of a set: no sample in both, none in neither, and each where it was when the set grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from filters.split import SplitConfig, is_held_out
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from shards.selection import kept_keys, read_selection
from shards.storage import Storage

RECIPE = """
name: parts
seed: 5
run: {workers: 1}
steps:
  base: {step: single_candidate, samples: 24, size_px: 128}
  held_out: {step: split, input: base, share: 0.3, part: held_out}
  rest: {step: split, input: base, share: 0.3, part: rest}
  half: {step: split, input: rest, share: 0.5, part: held_out, seed: 1}
  strange: {step: dedup, input: base, against: held_out}
  packed: {step: pack, input: [held_out, rest]}
  page: {step: report}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "recipe.yaml").write_text(RECIPE)
    out = Storage(str(folder / "out"))
    with Run(load_recipe(folder / "recipe.yaml"), out, Display(Console(quiet=True), out, "parts")) as run:
        return out, run.execute()


def parts(made):
    out, manifests = made
    return {name: kept_keys(out.child(manifests[name].directory)) for name in ("held_out", "rest", "half")}


def test_every_sample_is_in_one_part_and_the_other_says_why_not(made):
    out, manifests = made
    found = parts(made)
    assert len(found["held_out"]) + len(found["rest"]) == manifests["base"].books.made
    assert found["held_out"]
    assert found["rest"]
    assert not found["held_out"] & found["rest"]
    assert manifests["packed"].books.made == manifests["base"].books.made
    assert manifests["rest"].books.reasons == {"held out": len(found["held_out"])}
    assert manifests["held_out"].books.reasons == {"to train on": len(found["rest"])}
    rows = read_selection(out.child(manifests["rest"].directory)).to_pylist()
    assert {row["key"] for row in rows if row["reason"] == "held out"} == found["held_out"]


def test_a_part_of_a_part_holds_no_other_samples(made):
    found = parts(made)
    assert found["half"] < found["rest"]


def test_what_is_held_out_can_be_kept_away_from_a_training_by_its_pictures(made):
    out, manifests = made
    kept = kept_keys(out.child(manifests["strange"].directory))
    assert kept
    assert kept <= parts(made)["rest"]
    assert manifests["strange"].books.reasons["contaminated"] >= len(parts(made)["held_out"])


def test_the_page_tells_what_was_held_out(made):
    out, manifests = made
    page = out.child(manifests["page"].directory).read("report.html").decode()
    assert "held out: " in page
    assert "<h3>Scores</h3>" not in page
    assert "Against the injected truth" not in page  # it judges no fault


@given(st.text("abcdef-", min_size=1, max_size=20), st.floats(0.01, 0.98), st.integers(0, 9))
def test_of_a_smaller_share_none_is_held_out_that_a_larger_one_leaves(key, share, seed):
    assert is_held_out(key, share + 0.01, seed) or not is_held_out(key, share, seed)


def test_the_share_is_about_what_was_asked_for_and_another_seed_holds_others_out():
    keys = [f"sample-{number}" for number in range(20_000)]
    first, second = ({key for key in keys if is_held_out(key, 0.02, seed)} for seed in (0, 1))
    for found in (first, second):
        assert 340 < len(found) < 460  # three standard deviations of 400
    assert len(first & second) < 30


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_that_leaves_a_part_empty_is_refused(share):
    with pytest.raises(ValidationError):
        SplitConfig(share=share, part="rest")
