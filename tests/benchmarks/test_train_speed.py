"""How fast a slice of the model trains: four layers at full 7B widths on a GPU, the tiny model on a CPU.

`python -m train.gpu_checks --only slice` on a GPU prints a line for each pack of facts 3.1, with the bridge
off and on: milliseconds, tokens a second, MFU, peak memory.
"""

import statistics

import pytest

from train.attention import pack_attention
from train.build import FLEX_BLOCK
from train.config import BAGEL_7B
from train.layout import make_layout
from train.masks import token_meta
from train.plan import sample_size
from train.speed import BRIDGE, PACKS, TINY_PACKS, Bench, make_slice, measure


def test_the_measurement_itself_runs_tiny_on_a_cpu():
    bench = Bench("cpu", repeats=1)
    model = make_slice(bench)
    ((name, samples),) = TINY_PACKS.items()
    off, on = (measure(bench, model, name, samples, bridge) for bridge in (None, BRIDGE))
    assert (off["bridge"], on["bridge"]) == (False, True)
    assert off["tokens"] == on["tokens"] == sum(sample_size(one).tokens for one in samples)
    assert off["tokens_per_s"] > 0


def test_packs_are_those_of_the_facts():
    sizes = {name: sum(sample_size(one).tokens for one in samples) for name, samples in PACKS.items()}
    assert [round(size / 1000, 1) for size in sizes.values()] == [20.6, 19.2, 24.7, 23.5]


@pytest.mark.bench
def test_building_block_masks_takes_little_of_a_step(capsys):
    layout = make_layout(PACKS["2 references and 1, 1024"], BAGEL_7B, FLEX_BLOCK)
    pack = pack_attention(token_meta(layout), FLEX_BLOCK)
    times = [Bench("cpu", repeats=1).time(pack.attend) for _ in range(5)]
    with capsys.disabled():
        print(f"block mask of {layout.rows} rows: {1000 * statistics.median(times):.1f} ms on the CPU")
