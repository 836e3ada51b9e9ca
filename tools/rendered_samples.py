"""Rendered samples of one split with known faults, built and looked at in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Literal, TypeVar

from datagen.faults import TARGET_FAULTS
from datagen.single_candidate import SingleCandidateConfig
from shards.sample import Sample
from shards.stage import Planned, Work

FAULTS = (*TARGET_FAULTS, "copy_paste")
PROCESSES = 2
Split = Literal["calibration", "heldout"]
Result = TypeVar("Result")


def plan(split: Split, number: int, seed: int, clean: float) -> tuple[SingleCandidateConfig, list[Planned]]:
    """A plan whose samples are clean by that share, the rest shared evenly by all faults."""
    share = (1 - clean) / len(FAULTS)
    config = SingleCandidateConfig(
        samples=number, seed=seed, split=split, prefix="judge", faults=dict.fromkeys(FAULTS, share)
    )
    return config, list(config.plan())


def build(config: SingleCandidateConfig, planned: list[Planned]) -> Iterator[Sample]:
    """The samples of a plan that could be made."""
    builder = config.build()
    made = (builder.make(Work(key=one.key, spec=one.spec)) for one in planned)
    return (sample for sample in made if isinstance(sample, Sample))


def map_samples(
    look: Callable[[SingleCandidateConfig, list[Planned]], list[Result]],
    split: Split,
    number: int,
    seed: int,
    clean: float,
) -> list[Result]:
    """`look` at every sample of a plan, in parallel; results in the plan's order."""
    config, planned = plan(split, number, seed, clean)
    parts = [planned[start : start + 25] for start in range(0, len(planned), 25)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        return [result for part in pool.map(look, [config] * len(parts), parts) for result in part]


def fault_of(sample: Sample) -> str:
    """The fault that was injected; "none" for a clean sample."""
    return str(sample.provenance.truth["fault"])
