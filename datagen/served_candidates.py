"""Multi-candidate samples by an image editor and a writer, from samples whose layout nobody knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

from datagen.drafts import Draft, make_all
from datagen.generators import Generator
from datagen.parents import UnfitParentError
from datagen.served_add import AddDraft
from datagen.served_swap import SwapDraft
from datagen.variants import Made, read_wanted
from datagen.writers import Writer
from shards.image import ImageError, check_sample
from shards.sample import Provenance, Sample
from shards.stage import Reject, Stage, Work, keyed_random


class Told(Protocol):
    """The settings that a sample is made by."""

    @property
    def prefix(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def edit_px(self) -> int: ...
    @property
    def locates(self) -> bool: ...


class ServedCandidates(Stage):
    """Makes variants of parents by the method that was planned.

    Args:
        source: name of the step.
        config: its settings.
        writer: looks, and writes phrases and instructions.
        editor: adds candidates; None where only swaps are planned.
    """

    def __init__(self, source: str, config: Told, writer: Writer, editor: Generator | None) -> None:
        self._source = source
        self._config = config
        self._writer = writer
        self._editor = editor

    def close(self) -> None:
        """End the writer and the editor."""
        self._writer.close()
        if self._editor:
            self._editor.close()

    def take_counts(self) -> dict[str, float]:
        """What both counted since the last call."""
        counted: Counter[str] = Counter()
        for each in (self._writer, self._editor):
            counted.update(cast(Mapping[str, int], each.take_counts()) if each else {})
        return dict(counted)

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        drafts: dict[int, Draft] = {}
        outcomes: dict[int, Sample | Reject] = {}
        for number, work in enumerate(batch):
            try:
                check_sample(work.parents[0])
                drafts[number] = self._draft(work)
            except (UnfitParentError, ImageError) as error:
                outcomes[number] = Reject(reason=error.reason, detail=str(error))
        for number, made in make_all(drafts, self._writer, self._editor).items():
            is_made = isinstance(made, Made)
            outcomes[number] = self._sample(made, batch[number]) if is_made else cast(Reject, made)  # type: ignore[arg-type]
        return [outcomes[number] for number in range(len(batch))]

    def _draft(self, work: Work) -> Draft:
        wanted = read_wanted(work.key, work.spec)
        random = keyed_random(self._config.prefix, self._config.seed, wanted.key)
        parent = work.parents[0]
        if wanted.method == "add":
            return AddDraft(random, parent, wanted, self._config.edit_px, locates=self._config.locates)
        case, style = str(work.spec["case"]), str(work.spec["style"])
        return SwapDraft(random, parent, wanted, case, style, locates=self._config.locates)

    def _sample(self, made: Made, work: Work) -> Sample:
        """The variant with what it is and is from."""
        parent = work.parents[0].provenance
        counted = "single" if len(made.sample.references) == 1 else "multi"
        provenance = Provenance(
            source=self._source,
            licence=parent.licence,
            task=f"distinction_{counted}_{work.spec['relation']}",
            case=str(work.spec["case"]),
            parents=(work.parents[0].key,),
            origin={"method": work.spec["method"], "parent_source": parent.source, **made.origin},
        )
        return replace(made.sample, provenance=provenance)
