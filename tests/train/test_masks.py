"""One rule, three ways: pair by pair, dense, and as block masks."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn.functional import interpolate

from train.attention import DensePack, FlexPack
from train.blocks import block_mask, classify, extremes, with_bridge
from train.bridge_config import BridgeConfig
from train.config import TINY
from train.golden import golden_inputs, golden_layout, golden_model
from train.layout import make_layout
from train.masks import dense_mask, token_meta
from train.segments import Grid, Kind, ReferenceTokens, SampleTokens, next_position, segments, token_count
from train.taps import bilinear

GOLDEN = Path(__file__).parent / "golden"
grids = st.builds(Grid, st.integers(1, 4), st.integers(1, 4))
references = st.builds(ReferenceTokens, latent=st.none() | grids, vit=st.none() | grids)
samples = st.builds(
    SampleTokens,
    references=st.lists(references, max_size=3),
    text=st.none() | st.lists(st.integers(0, 255), max_size=9),
    targets=st.lists(grids, max_size=2),
)
packs = st.lists(samples, min_size=1, max_size=3).filter(lambda pack: sum(map(token_count, pack)) > 0)


def expected_visible(pack):
    """The rule as the facts state it, pair by pair, in packed order."""
    rows = []
    for doc, sample in enumerate(pack):
        index = 0
        for number, segment in enumerate(segments(sample)):
            for _ in range(segment.length):
                rows.append((doc, number, index, segment.kind))
                index += 1
    size = len(rows)
    mask = np.zeros((size, size), bool)
    for i, (dq, sq, iq, mq) in enumerate(rows):
        for j, (dk, sk, ik, mk) in enumerate(rows):
            own = sk == sq and (mq != Kind.TEXT or ik <= iq)
            mask[i, j] = dq == dk and (own or (sk < sq and mk != Kind.TARGET))
    return mask


@settings(max_examples=40, deadline=None)
@given(packs, st.sampled_from([1, 4]))
def test_dense_mask_is_the_stated_rule_in_grouped_order(pack, align):
    layout = make_layout(pack, TINY, align)
    mask = dense_mask(token_meta(layout)).numpy()
    is_row = layout.packed >= 0
    order = layout.packed[is_row]
    np.testing.assert_array_equal(mask[np.ix_(is_row, is_row)], expected_visible(pack)[np.ix_(order, order)])
    assert not mask[~is_row].any()
    assert not mask[:, ~is_row].any()


@settings(max_examples=60, deadline=None)
@given(packs, st.sampled_from([4, 8]), st.integers(0, 2**32 - 1))
def test_blocks_never_lose_a_visible_pair_nor_show_a_hidden_one(pack, block, seed):
    layout = make_layout(pack, TINY, block)
    meta = token_meta(layout)
    is_reference = torch.from_numpy(layout.columns.reference >= 0)
    generator = torch.Generator().manual_seed(seed)
    keep = ~is_reference | (torch.rand(layout.rows, generator=generator) < 0.3)
    per_block = extremes(meta, block)
    q, k = per_block.at(slice(None), None), per_block.at(None, slice(None))
    plain = classify(q, k)
    kept = keep.view(-1, block)
    bridge = with_bridge(plain, q, kept.any(1)[None], kept.all(1)[None])
    for grid, mask in ((plain, dense_mask(meta)), (bridge, dense_mask(meta, keep))):
        cells = mask.view(layout.rows // block, block, -1, block)
        assert not (cells.any(3).any(1) & ~(grid.partial | grid.full)).any()
        assert not (grid.full & ~cells.all(3).all(1)).any()
        assert not (grid.full & grid.partial).any()


def real_pack():
    grid = Grid(8, 8)
    sample = SampleTokens(
        references=[ReferenceTokens(latent=grid, vit=Grid(6, 6))] * 2, text=range(40), targets=[grid]
    )
    return [sample, sample]


def test_block_mask_holds_few_more_blocks_than_the_rule_needs():
    layout = make_layout(real_pack(), TINY, 16)
    cells = dense_mask(token_meta(layout)).view(layout.rows // 16, 16, -1, 16)
    needed = int(cells.any(3).any(1).sum())
    mask = block_mask(token_meta(layout), 16)
    computed = int(mask.kv_num_blocks.sum() + mask.full_kv_num_blocks.sum())
    assert needed <= computed <= 1.11 * needed


@pytest.mark.parametrize("with_keep", [False, True])
@pytest.mark.parametrize("only_targets", [False, True])
def test_flex_attention_equals_dense_attention(with_keep, only_targets):
    torch.manual_seed(0)
    layout = make_layout(real_pack(), TINY, 128)
    meta = token_meta(layout)
    keep = torch.from_numpy(layout.columns.reference < 0) | (torch.rand(layout.rows) < 0.5)
    last = layout.target_rows if only_targets else None
    q, k, v = (torch.randn(layout.rows, heads, 16) for heads in (4, 2, 2))
    q = q[-last:] if last else q
    arguments = (keep if with_keep else None, last)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*flex_attention.*torch.compile.*")
        flex = FlexPack(meta, 128).attend(*arguments)(q, k, v)
    dense = DensePack(meta).attend(*arguments)(q, k, v)
    is_row = meta.doc[-len(q) :] >= 0
    torch.testing.assert_close(flex[is_row], dense[is_row], atol=2e-6, rtol=1e-5)
    assert flex.isfinite().all()
    assert dense.isfinite().all()


def test_whole_model_over_flex_equals_the_golden_velocities():
    about = json.loads((GOLDEN / "bridge_half_masked.json").read_text())
    vectors = load_file(GOLDEN / "bridge_half_masked.safetensors")
    model = golden_model(GOLDEN / "bridge_half_masked.json", about)
    layout = golden_layout(about, model.config, align=128)
    found = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*flex_attention.*torch.compile.*")
        for block in (None, 128):
            inputs = golden_inputs(layout, about, vectors, "cpu", block)
            found.append(
                model(inputs, BridgeConfig(threshold=about["threshold"])).velocity_MC[inputs.is_target_M]
            )
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)


def test_several_noise_draws_leave_every_other_row_as_it_was():
    grid = Grid(3, 3)
    one = SampleTokens(references=[ReferenceTokens(latent=grid, vit=grid)], text=[1, 2], targets=[grid])
    two = SampleTokens(references=one.references, text=one.text, targets=[grid, grid])
    size = token_count(one)
    mask = expected_visible([two])
    np.testing.assert_array_equal(mask[:size, :size], expected_visible([one]))
    assert not mask[:size, size:].any()
    assert segments(two)[-1].position == segments(two)[-2].position == next_position(two)


def test_dropped_image_still_advances_the_position_and_dropped_text_does_not():
    grid = Grid(1, 1)
    whole = SampleTokens(references=[ReferenceTokens(latent=grid, vit=grid)], text=[1], targets=[grid])
    no_image = SampleTokens(references=[ReferenceTokens(latent=None, vit=None)], text=[1], targets=[grid])
    no_text = SampleTokens(references=whole.references, text=None, targets=[grid])
    assert [next_position(sample) for sample in (whole, no_image, no_text)] == [5, 5, 2]
    assert segments(no_image)[-1].position == 5


@settings(max_examples=25, deadline=None)
@given(grids, grids)
def test_taps_equal_bilinear_interpolation(source, to):
    image = torch.rand(source.height, source.width)
    index, weight = bilinear(source, to)
    taps = (image.flatten()[torch.from_numpy(index)] * torch.from_numpy(weight)).sum(1)
    want = interpolate(image[None, None], size=to, mode="bilinear", align_corners=False).flatten()
    torch.testing.assert_close(taps, want)
