"""The index of a directory: where each sample's members lie, so that no tar need be read to find one."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shards.checksum import CHECKSUM_BYTES, checksum
from shards.image import image_facts
from shards.sample import EncodedImage, Sample, SampleError, parse_sample, sample_json
from shards.stage import IndexRow
from shards.storage import Storage
from shards.tar import Member, TarError, TarWriter

OPEN_FILES = 64
HASH_BYTES = 32
OPEN_INDEX_BYTES = 256 << 20  # of a few hundred shards of 500 samples

MEMBER = pa.struct(
    [
        ("name", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("sha256", pa.binary(HASH_BYTES)),
        ("checksum", pa.binary(CHECKSUM_BYTES)),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
FORMAT = 3  # of the index, part of every step's hash that makes samples; 1 had no category, 2 no checksum
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("references", pa.int32()),
        ("task", pa.string()),
        ("case", pa.string()),
        ("category", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("digest", pa.string()),
        ("made_by", pa.string()),
        ("members", pa.list_(MEMBER)),
    ]
)


def shard_name(number: int) -> str:
    """`00012`: how shards and their indexes are called."""
    return f"{number:05d}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One member of a packed sample: `json`, `ref0.jpg`, ..., with its bytes and what they are."""

    name: str
    data: bytes
    sha256: bytes
    checksum: bytes
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class PackedSample:
    """A sample as it is written: its parts in their order and its row but for the offsets."""

    key: str
    row: Mapping[str, Any]
    parts: tuple[Part, ...]


def pack_sample(sample: Sample, made_by: str) -> PackedSample:
    """Make a sample ready to be written.

    Args:
        sample: to write.
        made_by: hash of all that decided the sample's content, for re-use in another directory.

    Raises:
        ImageError: an image's header cannot be read.
    """
    text = sample_json(sample)
    parts = [_part("json", text)]
    for name, image in sample.images.items():
        facts = image_facts(image)
        parts.append(_part(f"{name}.{image.extension}", image.data, facts.width, facts.height))
    row = {
        "references": len(sample.references),
        "task": sample.provenance.task,
        "case": sample.provenance.case,
        "category": category_of(sample),
        "source": sample.provenance.source,
        "licence": sample.provenance.licence,
        "digest": content_digest(parts),
        "made_by": made_by,
    }
    return PackedSample(key=sample.key, row=row, parts=tuple(parts))


def _part(name: str, data: bytes, width: int = 0, height: int = 0) -> Part:
    sha256 = hashlib.sha256(data).digest()
    return Part(name=name, data=data, sha256=sha256, checksum=checksum(data), width=width, height=height)


def category_of(sample: Sample) -> str:
    """The categories of the subjects that the target is to show, each once, e.g. `animal+furniture`."""
    found = {c.category for candidates in sample.subjects for c in candidates if c.is_target and c.category}
    return "+".join(sorted(found))


def write_packed(writer: TarWriter, packed: PackedSample) -> dict[str, Any]:
    """Append a sample's parts to a shard and return its row for the index.

    Raises:
        TarError: a part's name or size cannot be written, or its bytes are not what its checksum says.
    """
    members = []
    for part in packed.parts:
        member = writer.add(f"{packed.key}.{part.name}", part.data, part.sha256)
        if member.checksum != part.checksum:
            raise TarError(
                "changed", f"{packed.key}.{part.name}: expected the bytes that were made, got others"
            )
        members.append(member._asdict() | {"width": part.width, "height": part.height})
    return {"key": packed.key, **packed.row, "members": members}


def content_digest(parts: Sequence[Part]) -> str:
    """A hash of what a sample is, wherever it lies: its parts' names and hashes."""
    return hashlib.sha256(b"".join(part.name.encode() + part.sha256 for part in parts)).hexdigest()


def write_index(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a shard's index, the same bytes for the same rows."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
    pq.write_table(table, path, compression="zstd")


class _ShardIndex:
    """The index of one shard: single rows without making Python objects of the rest.

    Members are read from the columns' buffers: an Arrow scalar a value takes ten times as long, which was a
    fifth of a random read; all of them as Python objects take four times the memory.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        members = self.table.column("members").combine_chunks()
        names, offsets, sizes, hashes = (members.values.field(name) for name in Member._fields[:4])
        assert names.offset == hashes.offset == 0
        self._starts = members.offsets.to_numpy()
        self._offsets, self._sizes = offsets.to_numpy(), sizes.to_numpy()
        self._cuts = np.frombuffer(names.buffers()[1], dtype=np.int32)
        self._names = names.buffers()[2].to_pybytes()
        self._hashes = hashes.buffers()[1].to_pybytes()
        self._checksums = b""
        if members.type.value_type.get_field_index("checksum") >= 0:  # else an index of format 1 or 2
            self._checksums = members.values.field("checksum").buffers()[1].to_pybytes()

    def members(self, row: int) -> list[Member]:
        """Where the members of a row lie."""
        start, stop = self._starts[row : row + 2].tolist()
        cuts = self._cuts[start : stop + 1].tolist()
        names = [self._names[at:end].decode() for at, end in pairwise(cuts)]
        offsets, sizes = self._offsets[start:stop].tolist(), self._sizes[start:stop].tolist()
        hashes = _cut(self._hashes, start, stop, HASH_BYTES)
        return list(
            map(Member, names, offsets, sizes, hashes, _cut(self._checksums, start, stop, CHECKSUM_BYTES))
        )


def _cut(values: bytes, start: int, stop: int, width: int) -> list[bytes]:
    """Values `start` to `stop` of a column of fixed width; empty ones of a column that is not there."""
    return [values[at : at + width] for at in range(start * width, stop * width, width)]


def _is_intact(member: Member, data: bytes) -> bool:
    """Whether bytes are those that the index names; an index of format 1 or 2 has no checksums."""
    if member.checksum:
        return checksum(data) == member.checksum
    return hashlib.sha256(data).digest() == member.sha256


class Directory:
    """A finished directory of samples, read by row or by key without touching what lies between.

    Holds as many shards' indexes as fit into `OPEN_INDEX_BYTES`.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._indexes: OrderedDict[int, _ShardIndex] = OrderedDict()
        self._index_bytes = 0
        self._files: OrderedDict[int, Any] = OrderedDict()

    @cached_property
    def shards(self) -> list[int]:
        """Numbers of the shards there are."""
        return [int(name.partition(".")[0]) for name in self.storage.names("index")]

    def rows(self, directory: int = 0) -> Iterator[IndexRow]:
        """Each sample's row for a plan, in order of shards."""
        columns = ["key", "task", "case", "category", "source", "licence", "references", "digest"]
        for shard in self.shards:
            table = self._read(shard, columns)
            for row, values in enumerate(table.to_pylist()):
                yield IndexRow(**values, directory=directory, shard=shard, row=row)

    def _read(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        with self.storage.open(f"index/{shard_name(shard)}.parquet") as file:
            return pq.ParquetFile(file).read(columns=columns)  # without those that an older format lacks

    def _index(self, shard: int) -> _ShardIndex:
        if shard not in self._indexes:
            self._indexes[shard] = _ShardIndex(self._read(shard))
            self._index_bytes += self._indexes[shard].table.nbytes
            while self._index_bytes > OPEN_INDEX_BYTES and len(self._indexes) > 1:
                self._index_bytes -= self._indexes.popitem(last=False)[1].table.nbytes
        self._indexes.move_to_end(shard)
        return self._indexes[shard]

    @cached_property
    def places(self) -> dict[str, tuple[int, int]]:
        """(shard, row) of each key."""
        return {
            key: (shard, row)
            for shard in self.shards
            for row, key in enumerate(self._read(shard, ["key"]).column("key").to_pylist())
        }

    def row(self, shard: int, row: int) -> dict[str, Any]:
        """One row of a shard's index."""
        (found,) = self._index(shard).table.slice(row, 1).to_pylist()
        return dict(found)

    def some_rows(self, shard: int, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Some rows of a shard's index, in the order asked for; many at once cost a fifth of each alone."""
        found: list[dict[str, Any]] = self._index(shard).table.take(rows).to_pylist()
        return found

    def members(self, shard: int, row: int) -> list[tuple[Member, bytes]]:
        """A sample's members and their bytes, checked against the index.

        Raises:
            TarError: the bytes are not those that the index names.
        """
        return self._read_members(shard, self._index(shard).members(row))

    def read_members(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Member, bytes]]:
        """The bytes of members by their index rows, checked as in `members`."""
        members = [Member(*(row.get(name, b"") for name in Member._fields)) for row in rows]
        return self._read_members(shard, members)

    def text(self, shard: int, row: int) -> bytes:
        """The JSON of a sample; its pictures are not read.

        Raises:
            TarError: the bytes are not those that the index names.
        """
        members = [member for member in self._index(shard).members(row) if member.extension == "json"]
        ((_, text),) = self._read_members(shard, members)
        return text

    def _read_members(self, shard: int, members: Sequence[Member]) -> list[tuple[Member, bytes]]:
        file = self._file(shard)
        if self.storage.is_local:
            found = [file.read_at(member.size, member.offset) for member in members]
        else:  # they lie side by side: one request brings them all
            start = members[0].offset
            data = file.read_at(members[-1].offset + members[-1].size - start, start)
            found = [data[member.offset - start :][: member.size] for member in members]
        return [self._checked(shard, member, data) for member, data in zip(members, found, strict=True)]

    def _checked(self, shard: int, member: Member, data: bytes) -> tuple[Member, bytes]:
        if not _is_intact(member, data):
            raise TarError(
                "changed",
                f"{self.storage.path(f'shards/{shard_name(shard)}.tar')}: {member.name}: expected the bytes "
                "that its index names, got others; make the directory again",
            )
        return member, data

    def _file(self, shard: int) -> Any:  # noqa: ANN401, a pyarrow.NativeFile
        if shard not in self._files:
            self._files[shard] = self.storage.open(f"shards/{shard_name(shard)}.tar")
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(shard)
        return self._files[shard]

    def packed(self, shard: int, row: int) -> PackedSample:
        """One sample as it was written, to be written again elsewhere byte for byte."""
        values = self.row(shard, row)
        members = values.pop("members")
        parts = tuple(
            Part(
                name=member.name.partition(".")[2],
                data=data,
                sha256=member.sha256,
                checksum=member.checksum or checksum(data),
                width=found["width"],
                height=found["height"],
            )
            for found, (member, data) in zip(members, self.read_members(shard, members), strict=True)
        )
        if "category" not in values:  # an index of format 1
            values["category"] = category_of(self.sample(shard, row))
        return PackedSample(key=values.pop("key"), row=values, parts=parts)

    def sample(self, shard: int, row: int) -> Sample:
        """One sample, whole."""
        return sample_of(self.members(shard, row))

    def __getitem__(self, key: str) -> Sample:
        """A sample by its key.

        Raises:
            KeyError: there is none of that name.
        """
        if key not in self.places:
            raise KeyError(
                f"{self.storage.uri}: expected a key of its {len(self.places)} samples, got {key!r}"
            )
        return self.sample(*self.places[key])

    def __len__(self) -> int:
        return sum(
            pq.read_metadata(self.storage.open(f"index/{shard_name(s)}.parquet")).num_rows
            for s in self.shards
        )


def sample_of(members: Sequence[tuple[Member, bytes]]) -> Sample:
    """The sample that a group of members is.

    Raises:
        SampleError: the group is no sample.
    """
    texts = [data for member, data in members if member.extension == "json"]
    if len(texts) != 1:
        names = ", ".join(member.name for member, _ in members)
        raise SampleError(f"sample: expected one KEY.json and its images, got {names or 'nothing'}")
    images = {
        member.part: EncodedImage(data, member.extension)
        for member, data in members
        if member.extension != "json"
    }
    return parse_sample(members[0][0].key, images, texts[0])
