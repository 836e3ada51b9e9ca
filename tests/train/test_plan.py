from collections import Counter
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.config import BAGEL_7B, ConfigError
from train.plan import Plan, SampleSize, best_fit, epoch_packs, sample_size
from train.resize import grid_hw
from train.segments import Grid, ReferenceTokens, SampleTokens

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(
    lambda tokens: [SampleSize(key=str(n), tokens=t, pairs=t * t, targets=t) for n, t in enumerate(tokens)]
)


def realistic(count, seed=0):
    """A mix as the released sets have it: 1 to 4 references, square and oblong, 512 to 1024 px."""
    random = Random(seed)
    found = []
    for number in range(count):
        references = random.choices([1, 2, 3, 4], [45, 35, 15, 5])[0]
        shapes = [random.choice(((1024, 1024), (512, 512), (768, 1024), (1024, 683), (800, 800)))] * (
            references + 1
        )
        halves = [
            ReferenceTokens(
                latent=Grid(*grid_hw(*shape, BAGEL_7B.vae_resize)),
                vit=Grid(*grid_hw(*shape, BAGEL_7B.vit_resize)),
            )
            for shape in shapes[1:]
        ]
        target = Grid(*grid_hw(*shapes[0], BAGEL_7B.vae_resize))
        text = range(random.randrange(20, 120))
        found.append(
            sample_size(SampleTokens(references=halves, text=text, targets=[target], key=str(number)))
        )
    return found


@settings(max_examples=80, deadline=None)
@given(sizes, st.integers(40, 120), st.integers(1, 70), st.integers(1, 6), st.integers(0, 9))
def test_every_sample_of_an_epoch_appears_exactly_once(found, budget, window, per_step, seed):
    plan = Plan(sizes=found, budget=budget, window=window, packs_per_step=per_step, seed=seed)
    epochs = [epoch_packs(plan, epoch) for epoch in range(3)]
    for packs in epochs:
        assert Counter(n for pack in packs for n in pack.samples) == Counter(range(len(found)))
        assert all(pack.tokens <= budget for pack in packs)
    total = sum(map(len, epochs))
    stream = [pack for step in islice(plan.steps(), total // per_step) for pack in step.packs]
    begin = 0
    for packs in epochs:
        part = stream[begin : begin + len(packs)]
        begin += len(packs)
        if begin <= len(stream):
            assert Counter(part) == Counter(packs)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 6), st.integers(0, 12), st.sampled_from([1, 2, 3]))
def test_resuming_at_a_step_gives_what_an_uninterrupted_run_has_there(found, per_step, start, ranks):
    plan = Plan(sizes=found, budget=60, packs_per_step=per_step * ranks, seed=3)
    again = Plan(sizes=list(found), budget=60, packs_per_step=per_step * ranks, seed=3)
    whole = list(islice(plan.steps(), start + 3))[start:]
    assert list(islice(again.steps(start), 3)) == whole
    for step in whole:
        by_rank = [step.packs[rank::ranks] for rank in range(ranks)]
        assert Counter(pack for packs in by_rank for pack in packs) == Counter(step.packs)
        assert {len(packs) for packs in by_rank} == {per_step}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(30, 60))
def test_best_fit_is_the_fullest_choice_with_the_oldest(tokens, budget):
    chosen = best_fit(tokens, budget)
    every = range(2 ** (len(tokens) - 1))
    sums = [tokens[0] + sum(t for n, t in enumerate(tokens[1:]) if mask >> n & 1) for mask in every]
    assert chosen[0] == 0
    assert sum(tokens[n] for n in chosen) == max(s for s in sums if s <= budget)


def test_fill_of_a_realistic_mix_at_the_released_budget():
    plan = Plan(sizes=realistic(3000), budget=26_496, packs_per_step=8, seed=0)
    assert not plan.problems()
    assert plan.fill() >= 0.92


def test_packs_of_a_step_cost_about_the_same():
    plan = Plan(sizes=realistic(1500), budget=26_496, packs_per_step=8, seed=0)
    steps = list(islice(plan.steps(), len(epoch_packs(plan, 0)) // 8))
    waste = [1 - sum(map(plan.cost, s.packs)) / (8 * max(map(plan.cost, s.packs))) for s in steps]
    unsorted = epoch_packs(plan, 0)
    groups = [unsorted[n : n + 8] for n in range(0, len(unsorted) - 7, 8)]
    waste_before = [1 - sum(map(plan.cost, g)) / (8 * max(map(plan.cost, g))) for g in groups]
    assert sum(waste) < 0.6 * sum(waste_before)
    assert sum(waste) / len(waste) < 0.05


def test_another_epoch_and_another_seed_are_other_orders():
    found = realistic(50)
    first = Plan(sizes=found, budget=26_496, packs_per_step=2, seed=0)
    other = Plan(sizes=found, budget=26_496, packs_per_step=2, seed=1)
    assert epoch_packs(first, 0) != epoch_packs(first, 1)
    assert epoch_packs(first, 0) != epoch_packs(other, 0)


def test_too_large_a_sample_is_named_before_training():
    plan = Plan(sizes=realistic(50), budget=9_000, packs_per_step=2, seed=0)
    words = r"largest sample's \d+ tokens or more \(\d+; \d+ are larger.*got 9000"
    with pytest.raises(ConfigError, match=words):
        plan.check()
    assert "check the selection" in Plan(sizes=[], budget=1, packs_per_step=1, seed=0).problems()[0]


def test_size_counts_visible_pairs_as_the_mask_does():
    from train.config import TINY
    from train.layout import make_layout
    from train.masks import dense_mask, token_meta

    grid = Grid(3, 4)
    half = ReferenceTokens(latent=grid, vit=Grid(2, 2))
    sample = SampleTokens(references=[half, half], text=[1, 2, 3], targets=[grid, grid])
    size = sample_size(sample)
    layout = make_layout([sample], TINY)
    assert size.pairs == int(dense_mask(token_meta(layout)).sum())
    assert (size.tokens, size.targets) == (layout.rows, 24)
