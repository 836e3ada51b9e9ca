import pytest
import torch
from torch.nn.functional import cosine_similarity, interpolate

from train.bridge import bridge_index, bridge_stats, keep_mask, relevance
from train.bridge_config import BRIDGE_PRESETS, BridgeConfig, bridge_preset
from train.config import BAGEL_7B, TINY, ConfigError
from train.layout import make_layout
from train.segments import Grid, Kind, ReferenceTokens, SampleTokens

VIT, LATENT = Grid(3, 2), Grid(4, 5)
WHOLE = ReferenceTokens(latent=LATENT, vit=VIT)
NOTHING = SampleTokens(references=[ReferenceTokens(latent=None, vit=None)], text=[1], targets=[LATENT])
MIX = [
    SampleTokens(
        references=[WHOLE, ReferenceTokens(latent=LATENT, vit=None)],
        text=[1, 2, 3],
        targets=[LATENT],
        key="a",
    ),
    SampleTokens(references=[WHOLE], text=None, targets=[LATENT], key="no-text"),
    SampleTokens(references=[], text=[4], targets=[LATENT, LATENT], key="no-reference"),
    SampleTokens(
        references=[ReferenceTokens(latent=None, vit=VIT)], text=[5, 6], targets=[LATENT], key="no-latent"
    ),
]


def run(samples, align=1, hidden=16, seed=0):
    layout = make_layout(samples, TINY, align)
    index = bridge_index(layout)
    und = torch.randn(layout.und_rows, hidden, generator=torch.Generator().manual_seed(seed))
    return layout, index, und, relevance(und, layout.rows, index)


def rows(layout, kind, reference):
    columns = layout.columns
    return torch.from_numpy((columns.kind == kind) & (columns.reference == reference))


def test_relevance_is_the_mean_cosine_with_the_text_and_is_interpolated_to_latents():
    layout, _, und, found = run(MIX[:1])
    text = und[torch.from_numpy(layout.is_instruction)[: layout.und_rows]]
    vit = und[rows(layout, Kind.VIT, 0)[: layout.und_rows]]
    want = cosine_similarity(vit[:, None], text[None], dim=-1).mean(1)
    torch.testing.assert_close(found[rows(layout, Kind.VIT, 0)], want)
    on_latents = interpolate(want.view(1, 1, *VIT), size=LATENT, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[rows(layout, Kind.LATENT, 0)], on_latents.flatten())


@pytest.mark.parametrize("align", [1, 8])
def test_any_mix_gives_each_sample_what_it_gives_alone(align):
    layout, index, und, found = run(MIX, align)
    keep = keep_mask(found, index, BridgeConfig(threshold=0.1))
    first = torch.from_numpy(layout.columns.doc == 0)[: layout.und_rows]
    alone_layout = make_layout(MIX[:1], TINY)
    alone = relevance(und[first], alone_layout.rows, bridge_index(alone_layout))
    for kind in (Kind.VIT, Kind.LATENT):
        torch.testing.assert_close(found[rows(layout, kind, 0)], alone[rows(alone_layout, kind, 0)])
    for kind, reference in ((Kind.LATENT, 1), (Kind.VIT, 2), (Kind.LATENT, 2)):
        assert (found[rows(layout, kind, reference)] == 1).all()
        assert keep[rows(layout, kind, reference)].all()
    assert (found[rows(layout, Kind.VIT, 3)] != 1).all()
    assert keep[torch.from_numpy(layout.columns.reference < 0)].all()


def test_statistics_are_per_reference_image():
    layout, index, _, found = run(MIX)
    keep = keep_mask(found, index, BridgeConfig(threshold=2.0))
    stats = bridge_stats(found, keep, index)
    torch.testing.assert_close(stats.mean_relevance[0], found[rows(layout, Kind.VIT, 0)].mean())
    assert stats.mean_relevance.isnan().tolist() == [False, True, True, False]
    assert stats.keep_frac.isnan().tolist() == [False, True, True, False]
    assert stats.keep_frac[::3].tolist() == [0, 0]
    assert stats.is_hidden.tolist() == [1, 0, 0, 1]
    assert layout.reference_names == (("a", 0), ("a", 1), ("no-text", 0), ("no-latent", 0))


@pytest.mark.parametrize(
    "config",
    [BridgeConfig(threshold=2.0, fallback_frac=0.5), BridgeConfig(rule="quantile", keep_frac=0.5)],
    ids=["fallback", "quantile"],
)
def test_no_rule_hides_what_no_text_is_asked_of(config):
    layout, index, _, found = run(MIX)
    keep = keep_mask(found, index, config)
    for kind, reference in ((Kind.LATENT, 1), (Kind.VIT, 2), (Kind.LATENT, 2)):
        assert keep[rows(layout, kind, reference)].all()
    assert not keep[rows(layout, Kind.VIT, 3)].all()


def test_a_reference_that_dropout_left_nothing_of_counts_as_neither_kept_nor_hidden():
    _, index, _, found = run([MIX[0], NOTHING])
    stats = bridge_stats(found, keep_mask(found, index, BridgeConfig(threshold=2.0)), index)
    assert stats.is_hidden.tolist() == [1, 0, 0]
    assert stats.keep_frac.isnan().tolist() == [False, True, True]


def test_quantile_keeps_the_best_share_of_each_half():
    layout, index, _, found = run(MIX)
    keep = keep_mask(found, index, BridgeConfig(rule="quantile", keep_frac=0.5))
    for kind, count in ((Kind.VIT, 3), (Kind.LATENT, 10)):
        here = rows(layout, kind, 0)
        assert int(keep[here].sum()) == count
        assert found[here][keep[here]].min() >= found[here][~keep[here]].max()


def test_fallback_keeps_the_best_of_an_image_that_would_vanish_and_of_no_other():
    layout, index, _, found = run(MIX)
    here = rows(layout, Kind.VIT, 0)
    passing = BridgeConfig(threshold=float(found[here].max()), fallback_frac=0.5)
    assert int(keep_mask(found, index, passing)[here].sum()) == 1
    emptied = keep_mask(found, index, BridgeConfig(threshold=2.0, fallback_frac=0.5))
    assert int(emptied[here].sum()) == 3
    assert int(emptied[rows(layout, Kind.LATENT, 0)].sum()) == 10


def test_released_preset_cuts_where_bfloat16_does():
    layout, index, _, found = run(MIX[:1])
    here = rows(layout, Kind.VIT, 0).nonzero().flatten()
    found = found.index_copy(0, here, torch.tensor([0.8769, 0.87696, 0.8799, 0.88, 0.8801, 0.9]))
    kept = {
        name: keep_mask(found, index, BRIDGE_PRESETS[name])[here].tolist() for name in ("released", "paper")
    }
    assert kept["released"] == [False, True, True, True, True, True]
    assert kept["paper"] == [False, False, False, False, True, True]
    assert list(BRIDGE_PRESETS["paper"].layers) == list(range(9, 16))
    assert list(BRIDGE_PRESETS["released"].layers) == list(range(9, 17))


def test_unknown_preset_and_impossible_layers_are_named():
    with pytest.raises(ConfigError, match="paper, released, recommended, got 'best'"):
        bridge_preset("best")
    found = BridgeConfig(first_layer=3, last_layer=40, rule="soft", keep_frac=2).problems(BAGEL_7B.language)
    assert len(found) == 3
    assert "28 layers" in found[0]
    assert not bridge_preset("released").problems(BAGEL_7B.language)
