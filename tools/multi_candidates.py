"""Rendered multi-candidate samples of one split, with faults at known rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from datagen.multi_candidate import MultiCandidateConfig
from datagen.single_candidate import SingleCandidateConfig
from shards.sample import Sample
from shards.stage import IndexRow, Work
from tools.rendered_samples import Split, build, plan

WRONG = "target_shows_distractor"
WRONG_SHARE = 0.4
ONLY_WRONG = {WRONG: WRONG_SHARE}


def plan_multi(
    split: Split, number: int, seed: int, faults: Mapping[str, float] = ONLY_WRONG
) -> tuple[SingleCandidateConfig, list[tuple[Work, str]]]:
    """The parents' settings, and for each variant its work (parents not yet made) and its parent's key."""
    config, _ = plan(split, number, seed, 1.0)
    rows = [
        IndexRow(
            key=planned.key,
            task="composition_multi",
            case=str(planned.spec["case"]),
            source="single_candidate",
            licence="",
            references=int(str(planned.spec["references"])),
            directory=0,
            shard=0,
            row=row,
        )
        for row, planned in enumerate(config.plan())
    ]
    variants = _settings(split, number, seed, faults).plan(rows)
    return config, [(Work(key=v.key, spec=v.spec), v.parents[0].key) for v in variants]


def build_multi(
    config: SingleCandidateConfig, variants: list[tuple[Work, str]], split: Split = "heldout"
) -> Iterator[Sample]:
    """The variants that could be made."""
    return (sample for sample, _ in build_with_parents(config, variants, split))


def build_with_parents(
    config: SingleCandidateConfig, variants: list[tuple[Work, str]], split: Split
) -> Iterator[tuple[Sample, Sample]]:
    """The variants that could be made, each with its parent."""
    stage = _settings(split, config.samples, config.seed, {}).build()
    planned = {one.key: one for one in config.plan()}
    for work, parent_key in variants:
        for parent in build(config, [planned[parent_key]]):
            made = stage.make(Work(key=work.key, spec=work.spec, parents=(parent,)))
            if isinstance(made, Sample):
                yield made, parent


def _settings(split: Split, number: int, seed: int, faults: Mapping[str, float]) -> MultiCandidateConfig:
    return MultiCandidateConfig(
        samples=number, seed=seed, split=split, prefix="judge", rounds=1, faults=dict(faults)
    )
