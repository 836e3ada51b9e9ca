"""What was taken down and must never come back: refused in every plan, and in whatever a stage brings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from shards.plan import Refused, Unused
from shards.sample import Sample
from shards.stage import Outcome, Planned, Reject, Stage, Work
from shards.step import StepSettings
from shards.storage import Storage

LIST = "forgotten.json"
REASON = "forgotten"
DETAIL = "taken down"


@dataclass(frozen=True)
class Forgotten:
    """What must never come back: keys, and whole sources by name."""

    keys: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.keys or self.sources)

    def refuse(
        self, planned: Iterable[Planned | Refused | Unused], settings: StepSettings
    ) -> Iterator[Planned | Refused | Unused]:
        """A plan without them; each is refused with its reason."""
        is_source = settings.SOURCE in self.sources
        for entry in planned:
            if isinstance(entry, Planned) and (is_source or self._covers(entry)):
                yield Refused(origin=entry.key, reason=REASON, detail=DETAIL)
            else:
                yield entry

    def _covers(self, entry: Planned) -> bool:
        sources = {parent.source for parent in entry.parents} | {entry.spec.get("source")}
        keys = {entry.key, entry.spec.get("case_key"), *(parent.key for parent in entry.parents)}
        return bool(self.keys & keys or self.sources & sources)

    def covers(self, sample: Sample) -> bool:
        """Whether a sample is one of them, or was made of one."""
        about = sample.provenance
        return about.source in self.sources or not self.keys.isdisjoint((sample.key, *about.parents))


def read_forgotten(out: Storage) -> Forgotten:
    """The list of an output; empty where nothing was taken down."""
    if not out.exists(LIST):
        return Forgotten()
    value = json.loads(out.read(LIST))
    return Forgotten(frozenset(value["keys"]), frozenset(value["sources"]))


class Refusing(Stage):
    """A stage that hands on nothing of what was taken down: tars and directories of other outputs tell only
    in their samples whose those are, and no plan sees that."""

    def __init__(self, stage: Stage, forgotten: Forgotten) -> None:
        self._stage = stage
        self.reads_parents = stage.reads_parents
        self._forgotten = forgotten

    def __call__(self, batch: Sequence[Work]) -> list[Outcome]:
        return [
            Reject(reason=REASON, detail=DETAIL)
            if isinstance(outcome, Sample) and self._forgotten.covers(outcome)
            else outcome
            for outcome in self._stage(batch)
        ]

    def take_counts(self) -> Mapping[str, float]:
        """Those of the stage."""
        return self._stage.take_counts()

    def close(self) -> None:
        """Close the stage."""
        self._stage.close()
