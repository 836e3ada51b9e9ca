"""What a training recipe will take, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from recipes.doctor import free_bytes
from shards.storage import Storage, size_words
from train.flops import PEAKS

if TYPE_CHECKING:
    from train.forecast import Forecast
    from train.settings import TrainSettings

HOUR_S = 3600
SHARE = 0.4  # of a GPU's peak: published trainers of such models reach 0.33 to 0.46
READS = ("stage", "samples", "held out", "largest", "packs", "fill", "steps", "epochs")
TAKES = ("stage", "trains", "a rank holds", "layers keep", "checkpoint", "EFLOP", "H100 hours")
MEANING = (
    "Calculated, not measured. largest: tokens of the largest sample. a rank holds: weights, gradients, "
    "moments, means, autoencoder. layers keep: of the dearest pack, for the backward pass; what one layer "
    "works with comes on top, and all of it is tried before the first step. EFLOP: the model's own "
    "operations. H100 hours: by the clock with {ranks}, at {share:.0%} of their peak."
)


def print_forecasts(console: Console, settings: TrainSettings, found: Sequence[Forecast]) -> None:
    """Two tables: what each stage reads, and what it takes; then what the figures mean, and the disk."""
    from train.forecast import disk_bytes

    console.print(_table(READS, [_reads(one) for one in found]))
    console.print()
    console.print(_table(TAKES, [_takes(one, settings.ranks) for one in found]))
    need, free = disk_bytes(settings, found), free_bytes(Storage(settings.out))
    meaning = MEANING.format(ranks=settings.ranks, share=SHARE)
    disk = (
        f"{'look at' if need > free else 'disk:'} {settings.out}: it grows to {size_words(need)} (models, "
        f"{settings.keep} checkpoints and one as it is written), {size_words(free)} are free there"
    )
    for words in ("", meaning, disk):
        console.print(words, highlight=False, soft_wrap=True)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="left" if name == "stage" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _reads(one: Forecast) -> list[str]:
    counts = (one.samples, one.held, one.largest, one.packs)
    return [
        one.stage,
        *(f"{number:,}" for number in counts),
        f"{one.fill:.3f}",
        f"{one.steps:,}",
        f"{one.epochs:.1f}",
    ]


def _takes(one: Forecast, ranks: int) -> list[str]:
    return [
        one.stage,
        share_words(one.trained, one.weights),
        size_words(one.state_bytes),
        "?" if one.kept_bytes is None else size_words(one.kept_bytes),
        size_words(one.checkpoint_bytes),
        f"{one.flops / 1e18:.3g}",
        hour_words(one.flops / (ranks * SHARE * PEAKS["H100"]) / HOUR_S),
    ]


def share_words(part: int, whole: int) -> str:
    """Numbers of weights for people.

    >>> share_words(13_404_000_000, 14_580_000_000), share_words(91_192, 181_136)
    ('13.40 of 14.58 billion', '91,192 of 181,136')
    """
    if whole < 1e9:
        return f"{part:,} of {whole:,}"
    return f"{part / 1e9:.2f} of {whole / 1e9:.2f} billion"


def hour_words(hours: float) -> str:
    """Hours for people.

    >>> hour_words(26.93), hour_words(1e-6)
    ('26.9', '< 0.1')
    """
    return f"{hours:.1f}" if hours >= 0.1 else "< 0.1"
