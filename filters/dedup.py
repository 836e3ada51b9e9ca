"""De-duplication: equal and near pictures become one, the best by a score; benchmarks' pictures go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from filters import matches
from filters.benchmark_images import BenchmarkImages
from filters.near import (
    NOTHING,
    Pairs,
    alike_across,
    alike_pairs,
    equal_pairs,
    near_across,
    near_pairs,
)
from filters.prints import Prints, exact_prints, keys_of, table_prints, targets
from filters.scored import Samples, SelectError, read_scores
from filters.select import KEPT, books, worst_of
from shards.driver_step import DriverStep, Input, Result
from shards.listing import ListingError
from shards.manifest import record
from shards.sample import Json
from shards.selection import FILE, write_selection
from shards.settings import RUN
from shards.storage import Storage
from shards.tables import WHOLE, questions

How = Literal["exact", "phash", "embedding"]
PRINTS: tuple[How, ...] = ("phash", "embedding")
Match = tuple[str, int, str, int, str]  # a row of `filters.matches`


class DedupConfig(DriverStep):
    """Settings of `dedup`.

    Inputs: `input`, the samples; `prints`, their fingerprints; `scores`, what says which one of a group is
    best; `against`, fingerprints or samples of benchmarks and of what is held out. Without fingerprints only
    equal bytes are found.
    """

    VERSION: ClassVar[int] = 1

    compare: Literal["target", "all"] = Field(
        default="target", description="pictures that make two samples one: the target, or any picture"
    )
    distance: int = Field(
        default=4, ge=0, le=15, description="bits of 64 that near perceptual hashes differ in"
    )
    least_cosine: float = Field(
        default=0.95, gt=0, le=1, description="of embeddings that count as one picture"
    )
    order: tuple[str, ...] = Field(default=(), description="scores that say what is better, first one first")
    benchmarks: Annotated[Mapping[str, str], Field(**RUN)] = Field(
        default={}, description="name: folder of pictures that must not be trained on; $NAME as in imports"
    )

    def missing(self) -> list[str]:
        """Benchmarks that are not there."""
        found = []
        for name, path in self.benchmarks.items():
            try:
                _ = BenchmarkImages(path).digest
            except (ListingError, OSError) as error:
                found.append(f"benchmarks.{name}: {error}")
        return found

    def computed(self) -> dict[str, Json]:
        """The settings, and what the benchmarks are, wherever they lie."""
        held: dict[str, Json] = {}
        for name, path in self.benchmarks.items():
            try:
                held[name] = BenchmarkImages(path).digest
            except (ListingError, OSError):  # `bakery check` where it is not; a run says so at once
                held[name] = None
        return {**super().computed(), "benchmarks": held}

    def make(self, inputs: Mapping[str, Sequence[Input]], target: Storage) -> Result:
        """Write what is kept, and what was found alike."""
        (of,) = inputs["input"]
        keys = keys_of(of)
        known = {"exact": exact_prints(of, keys)} | _tables(inputs.get("prints", ()), keys)
        reasons = np.full(len(keys), KEPT, dtype=object)
        found = self._contaminated(known, keys, inputs.get("against", ()), reasons)
        better = self._better(keys, [i.storage for i in inputs.get("scores", ())])
        found += self._duplicates(known, keys, better, reasons)
        table = pa.table(
            {"key": keys, "keep": pa.array(reasons == KEPT), "reason": pa.array(list(reasons), pa.string())}
        )
        return self._publish(table, found, target)

    def _publish(self, table: pa.Table, found: Sequence[Match], target: Storage) -> Result:
        with target.scratch() as path:
            write_selection(table, path)
            target.publish(path, FILE)
        matches.write_matches(found, target)
        files = {name: record(target, name) for name in (FILE, matches.FILE)}
        return Result(files=files, books=books(table))

    def _better(self, keys: pa.Array, scores: Sequence[Storage]) -> npt.NDArray[np.int64]:
        """Each sample's rank: 0 is the best; ties are broken by a hash of the key."""
        ties = np.array([hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys.to_pylist()])
        samples = Samples(keys, pa.nulls(len(keys), pa.string()))
        tables = read_scores(scores, self.order)
        low = [worst_of(samples, name, tables[name]).low for name in reversed(self.order)]
        columns = [-np.where(np.isfinite(column), column, -np.inf) for column in low]  # unreadable is worst
        order = np.lexsort([ties, *columns])
        rank = np.empty(len(keys), dtype=np.int64)
        rank[order] = np.arange(len(keys))
        return rank

    def _pairs(self, how: str, value: npt.NDArray[Any]) -> Pairs:
        if how == "exact":
            return equal_pairs(value)
        return near_pairs(value, self.distance) if how == "phash" else alike_pairs(value, self.least_cosine)

    # Benchmarks

    def _contaminated(
        self, known: Mapping[str, Prints], keys: pa.Array, against: Sequence[Input], reasons: npt.NDArray[Any]
    ) -> list[Match]:
        """Any picture that is a benchmark's; every match is told."""
        found: list[Match] = []
        for others, held in self._benchmarks(list(known), against):
            for how in sorted(set(known) & set(held)):
                for mine, theirs in self._across(how, known[how], held[how]):
                    place = int(known[how].sample[mine])
                    reasons[place] = "contaminated"
                    other = others[int(held[how].sample[theirs])].as_py()
                    image, other_image = int(known[how].image[mine]), int(held[how].image[theirs])
                    found.append((keys[place].as_py(), image, other, other_image, how))
        return found

    def _benchmarks(
        self, kinds: Sequence[str], against: Sequence[Input]
    ) -> Iterator[tuple[pa.Array, dict[str, Prints]]]:
        """Names and fingerprints of each benchmark, finished directories first."""
        for of in against:
            others = keys_of(of)
            yield others, {"exact": exact_prints(of, others)} | _tables([of], others)
        for path in self.benchmarks.values():
            yield BenchmarkImages(path).prints([kind for kind in kinds if kind in PRINTS])

    def _across(self, how: str, mine: Prints, theirs: Prints) -> list[tuple[int, int]]:
        """Of ours that are near one of theirs, with that one."""
        if not len(mine.sample) or not len(theirs.sample):
            return []
        if how == "embedding":
            return alike_across(mine.value, theirs.value, self.least_cosine)
        return near_across(mine.value, theirs.value, self.distance if how == "phash" else 0)

    # Duplicates

    def _duplicates(
        self,
        known: Mapping[str, Prints],
        keys: pa.Array,
        rank: npt.NDArray[np.int64],
        reasons: npt.NDArray[Any],
    ) -> list[Match]:
        edges: dict[str, Pairs] = {}
        for how, prints in known.items():
            of = prints if self.compare == "all" else targets(prints)
            of = of.only(reasons[of.sample] == KEPT)
            edges[how] = of.sample[self._pairs(how, of.value)].reshape(-1, 2)
        found: list[Match] = []
        for how, reason in (("exact", "duplicate"), *((name, "near_duplicate") for name in PRINTS)):
            joined = np.concatenate([NOTHING, *(e for name, e in edges.items() if _not_after(name, how))])
            best = _best_of_group(len(keys), joined, rank)
            for place in np.flatnonzero((best != np.arange(len(keys))) & (reasons == KEPT)):
                reasons[place] = reason
                key, kept = keys[int(place)].as_py(), keys[int(best[place])].as_py()
                found.append((key, WHOLE, kept, WHOLE, how))
        return found


def _not_after(name: str, how: str) -> bool:
    order = ("exact", *PRINTS)
    return order.index(name) <= order.index(how)


def _tables(prints: Sequence[Input], keys: pa.Array) -> dict[str, Prints]:
    found: dict[str, Prints] = {}
    for of in prints:
        held = questions(of.storage) if of.manifest.kind == "scores" else []
        found |= {kind: table_prints(of, kind, keys) for kind in PRINTS if kind in held}
        if of.manifest.kind == "scores" and not set(held) & set(PRINTS):
            raise SelectError(
                f"{of.storage.uri}: expected fingerprints, got {', '.join(held)}; run `fingerprint`"
            )
    return found


def _best_of_group(count: int, edges: Pairs, rank: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each sample the best of the group that edges tie it into."""
    graph = coo_matrix((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(rank)
    _, first = np.unique(group[order], return_index=True)
    return np.asarray(order[first][group], dtype=np.int64)
