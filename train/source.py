"""The samples that training reads: finished directories or selections, straight from their shards."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shards.index import Directory, shard_name
from shards.manifest import read_manifest
from shards.sample import BENCHMARKS, Sample
from shards.selection import kept_keys
from shards.storage import Storage
from train.config import ConfigError, ModelConfig
from train.plan import SampleSize, sample_size
from train.resize import grid_hw
from train.segments import Grid, ReferenceTokens, SampleTokens
from train.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a sample is and how large, before any of its pixels are read.

    Attributes:
        source: number of its directory in the run.
        shard, row: its place there.
        text_tokens: of its instruction.
        sizes: (width, height) in pixels of its references, then of its target.
    """

    key: str
    source: int
    shard: int
    row: int
    text_tokens: int
    sizes: tuple[tuple[int, int], ...]


class Source:
    """One finished directory of samples, or the ones that a selection keeps of it.

    Attributes:
        given: the name of the directory or selection as it was asked for.

    Raises:
        ConfigError: there is no finished directory, or it holds neither samples nor a selection.
    """

    def __init__(self, uri: str) -> None:
        storage, self.keep = _samples_below(Storage(uri), uri)
        self.directory = Directory(storage)
        self.given = _last_part(uri)
        self._threads = threading.local()

    @property
    def name(self) -> str:
        """The name of the directory of samples, which ends in the hash of what it holds."""
        return _last_part(self.directory.storage.uri)

    def keys(self) -> list[str]:
        """Every kept sample's, in the order of shards."""
        return [key for key in self.directory.places if self.keep is None or key in self.keep]

    def places(self, number: int, tokenizer: Tokenizer, cache: Path | None = None) -> list[Place]:
        """Every kept sample, in the order of shards.

        Args:
            number: of this source in the run.
            tokenizer: for the instructions' lengths.
            cache: folder in which lengths are kept from one run to the next.

        Raises:
            ConfigError: it holds cases of a benchmark.
        """
        self._refuse_benchmarks()
        lengths = self._lengths(tokenizer, cache)
        found = []
        for shard in self.directory.shards:
            found += [
                Place(
                    key=row["key"],
                    source=number,
                    shard=shard,
                    row=place,
                    text_tokens=lengths[row["key"]],
                    sizes=_image_sizes(row["members"]),
                )
                for place, row in enumerate(self._rows(shard))
                if self.keep is None or row["key"] in self.keep
            ]
        return found

    def read(self, place: Place) -> Sample:
        """A sample with its images; each thread reads through files of its own."""
        if not hasattr(self._threads, "directory"):
            self._threads.directory = Directory(self.directory.storage)
        sample: Sample = self._threads.directory.sample(place.shard, place.row)
        return sample

    def _refuse_benchmarks(self) -> None:
        found: Counter[str] = Counter()
        for shard in self.directory.shards:
            table = self._read(shard, ["key", "source"])
            table = table.filter(
                pc.is_in(table.column("source"), value_set=pa.array(sorted(BENCHMARKS), pa.string()))
            )
            found.update(r["source"] for r in table.to_pylist() if self.keep is None or r["key"] in self.keep)
        for name, count in sorted(found.items()):
            raise ConfigError(
                f"{self.given}: expected samples to train on, got {count} of the benchmark {name!r}; "
                "leave them out: what a model was trained on cannot measure it"
            )

    def _rows(self, shard: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._read(shard, ["key", "members"]).to_pylist()
        return rows

    def _read(self, shard: int, columns: list[str]) -> pa.Table:
        with self.directory.storage.open(f"index/{shard_name(shard)}.parquet") as file:
            return pq.read_table(file, columns=columns)

    def _lengths(self, tokenizer: Tokenizer, cache: Path | None) -> dict[str, int]:
        path = cache / f"{self.name}-{tokenizer.digest}.parquet" if cache else None
        known = _read_lengths(path) if path is not None and path.exists() else {}
        if self.directory.places.keys() <= known.keys():
            return known
        # Not counted yet; or made again since, when it was answered what it had lacked.
        found = dict(self._count(tokenizer))
        if path is not None:
            _write_whole(pa.table({"key": list(found), "tokens": list(found.values())}), path)
        return found

    def _count(self, tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        for shard in self.directory.shards:
            for row in self._rows(shard):
                ((_, data),) = self.directory.read_members(shard, [_json_member(row["members"])])
                yield row["key"], len(tokenizer.encode(json.loads(data)["instruction"]))


def _samples_below(storage: Storage, uri: str) -> tuple[Storage, frozenset[str] | None]:
    manifest = read_manifest(storage)
    if manifest is None:
        raise ConfigError(f"{uri}: expected a finished directory, got none; run its recipe first")
    if manifest.kind == "samples":
        return storage, None
    if manifest.kind != "selection":
        raise ConfigError(
            f"{uri}: expected samples or a selection, got {manifest.kind!r}; name its input instead"
        )
    below, keep = _samples_below(storage.sibling(manifest.parents["input"][0]), uri)
    kept = frozenset(kept_keys(storage))
    return below, kept if keep is None else kept & keep


def _last_part(uri: str) -> str:
    return uri.partition("?")[0].rstrip("/").rpartition("/")[2]


def _read_lengths(path: Path) -> dict[str, int]:
    table = pq.read_table(path)
    return dict(zip(table.column("key").to_pylist(), table.column("tokens").to_pylist(), strict=True))


def _write_whole(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial)
    partial.replace(path)


def _json_member(members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return next(member for member in members if member["name"].endswith(".json"))


def _image_sizes(members: Sequence[dict[str, Any]]) -> tuple[tuple[int, int], ...]:
    """Of references in order, then of the target."""
    sizes = {m["name"].split(".")[1]: (m["width"], m["height"]) for m in members if m["width"]}
    references = [sizes[f"ref{number}"] for number in range(len(sizes) - 1)]
    return (*references, sizes["target"])


def place_tokens(place: Place, config: ModelConfig, noise_draws: int = 1) -> SampleTokens:
    """A sample in tokens, nothing dropped out; its text is as long as it will be, but blank."""
    *references, target = place.sizes
    return SampleTokens(
        references=[
            ReferenceTokens(
                latent=Grid(*grid_hw(*size, config.vae_resize)), vit=Grid(*grid_hw(*size, config.vit_resize))
            )
            for size in references
        ],
        text=range(place.text_tokens),
        targets=[Grid(*grid_hw(*target, config.vae_resize))] * noise_draws,
        key=place.key,
    )


def place_size(place: Place, config: ModelConfig, noise_draws: int = 1) -> SampleSize:
    """What the plan knows of a sample."""
    return sample_size(place_tokens(place, config, noise_draws))
