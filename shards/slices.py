"""Slices are work: a worker makes some planned samples and commits them as one object."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from shards.checksum import CHECKSUM_BYTES
from shards.image import ImageError
from shards.index import PackedSample, pack_sample, shard_name
from shards.plan import PlanRow, read_plan
from shards.sample import Sample, canonical_json
from shards.stage import HandedOn, Outcome, Reject, Scores, Work
from shards.storage import Storage, StorageError
from shards.tar import TarError
from shards.worker import Job, Receipt, Worker

FOLDER = "work/slices"
INFLIGHT = "work/inflight"
DEATHS_TO_REJECT = 2
NAMED = 3  # samples in a message about all that were in hand
RUN_BYTES = 1 << 20  # of entries written at once; a batch of its own for each small sample would cost 70 us

PART = pa.struct(
    [
        ("name", pa.string()),
        ("data", pa.large_binary()),
        ("sha256", pa.binary(32)),
        ("checksum", pa.binary(CHECKSUM_BYTES)),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
SLICE = pa.schema(
    [("key", pa.string()), ("kind", pa.string()), ("value", pa.large_binary()), ("parts", pa.list_(PART))]
)


@dataclass(frozen=True, kw_only=True)
class MakeSlice:
    """Make planned samples `start` to `stop` of a shard and commit them as one object.

    Attributes:
        suspects: keys that were in flight when a worker died: each is tried alone.
        condemned: keys that ended `DEATHS_TO_REJECT` workers: rejected unmade.
    """

    job: Job
    shard: int
    start: int
    stop: int
    suspects: frozenset[str] = frozenset()
    condemned: frozenset[str] = frozenset()
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def name(self) -> str:
        """`00003-000032-000064-<attempt>`: unique, and tells what it holds."""
        return f"{shard_name(self.shard)}-{self.start:06d}-{self.stop:06d}-{self.attempt}"

    @property
    def mark(self) -> str:
        """The file that says which samples are in a worker's hands."""
        return f"{INFLIGHT}/{self.name}.json"

    def __call__(self, worker: Worker) -> Receipt:
        """Make the slice on a worker."""
        began = time.perf_counter()
        worker.stage(self.job)  # before anything is in hand: if it dies here, no sample is to blame
        rows = read_plan(self.job.storage, self.shard, self.start, self.stop)
        kinds = _write_slice(self.job.storage, f"{FOLDER}/{self.name}.arrow", self._entries(worker, rows))
        self.job.storage.delete(self.mark)
        return Receipt(
            name=self.name,
            made=kinds.total() - kinds["reject"],
            failed=kinds["reject"],
            copied=sum(row.copy_of is not None for row in rows),
            seconds=time.perf_counter() - began,
            counts=worker.take_counts(),
        )

    def _entries(self, worker: Worker, rows: Sequence[PlanRow]) -> Iterator[dict[str, Any]]:
        for batch in self._batches(rows):
            if len(batch) == 1 and batch[0].key in self.condemned:
                detail = f"{DEATHS_TO_REJECT} workers died while they had it in hand"
                yield _reject_entry(batch[0].key, Reject(reason="worker_died", detail=detail))
                continue
            self.job.storage.write(self.mark, canonical_json([row.key for row in batch]), is_durable=False)
            yield from _make(worker, self.job, batch)

    def _batches(self, rows: Sequence[PlanRow]) -> Iterator[list[PlanRow]]:
        """Batches of the configured size at fixed places, whatever the slice; suspects go alone."""
        size = self.job.config.batch_size
        batch: list[PlanRow] = []
        for place, row in enumerate(rows, self.start):
            alone = row.key in self.suspects or row.key in self.condemned
            if batch and (place % size == 0 or alone):
                yield batch
                batch = []
            batch.append(row)
            if alone:
                yield batch
                batch = []
        if batch:
            yield batch


def _make(worker: Worker, job: Job, batch: Sequence[PlanRow]) -> Iterator[dict[str, Any]]:
    copied = {row.key: packed for row in batch if (packed := _copy(worker, job, row))}
    fresh = [row for row in batch if row.key not in copied]
    made = dict(zip((row.key for row in fresh), _outcomes(worker, job, fresh), strict=True))
    for row in batch:
        is_copy = row.key in copied
        yield _packed_entry(copied[row.key]) if is_copy else _entry(worker, job, row, made[row.key])


def _copy(worker: Worker, job: Job, row: PlanRow) -> PackedSample | None:
    if row.copy_of is None:
        return None
    directory, shard, place = row.copy_of
    try:
        return worker.directory(job.copies_from[directory]).packed(shard, place)
    except (StorageError, TarError):  # it went or changed since the plan was made: make the sample anew
        return None


def _handed_on(worker: Worker, job: Job, row: PlanRow) -> PackedSample:
    ((directory, shard, place),) = row.parents
    found = worker.directory(job.inputs[directory]).packed(shard, place)
    if found.key != row.key:
        raise ValueError(f"step {job.name}: expected sample {row.key!r} as planned, got {found.key!r}")
    return replace(found, row={**found.row, "made_by": row.made_by})


def _outcomes(worker: Worker, job: Job, rows: Sequence[PlanRow]) -> Sequence[Outcome]:
    if not rows:
        return []
    stage = worker.stage(job)
    batch = [
        Work(key=row.key, spec=row.spec, parents=_parents(worker, job, row) if stage.reads_parents else ())
        for row in rows
    ]
    try:
        return stage(batch)
    except Exception as error:
        more = f" and {len(rows) - NAMED} more in hand" if len(rows) > NAMED else ""
        error.add_note(f"step {job.name}, samples {', '.join(row.key for row in rows[:NAMED])}{more}")
        raise


def _parents(worker: Worker, job: Job, row: PlanRow) -> tuple[Sample, ...]:
    return tuple(worker.directory(job.inputs[d]).sample(shard, place) for d, shard, place in row.parents)


def _entry(worker: Worker, job: Job, row: PlanRow, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Reject):
        return _reject_entry(row.key, outcome)
    if isinstance(outcome, HandedOn):
        return _packed_entry(_handed_on(worker, job, row))
    if isinstance(outcome, Scores) != (job.kind == "scores"):
        made = type(outcome).__name__
        raise TypeError(f"step {job.name}: expected {job.kind} of its stage, got {made} for {row.key!r}")
    if isinstance(outcome, Scores) and not any(outcome.rows.values()):
        detail = f"it has nothing that {', '.join(outcome.rows)} could be asked of"
        return _reject_entry(row.key, Reject(reason="nothing_to_ask", detail=detail))
    if isinstance(outcome, Scores):
        value = canonical_json({question: list(rows) for question, rows in outcome.rows.items()})
        return {"key": row.key, "kind": "scores", "value": value, "parts": []}
    return _sample_entry(row, outcome, job)


def _sample_entry(row: PlanRow, sample: Sample, job: Job) -> dict[str, Any]:
    if sample.key != row.key:
        raise ValueError(f"step {job.name}: expected sample {row.key!r} as planned, got {sample.key!r}")
    try:
        return _packed_entry(pack_sample(sample, row.made_by))
    except (ImageError, TarError) as error:
        return _reject_entry(row.key, Reject(reason=error.reason, detail=str(error)))


def _packed_entry(packed: PackedSample) -> dict[str, Any]:
    parts = [{name: getattr(part, name) for name in PART.names} for part in packed.parts]
    return {"key": packed.key, "kind": "sample", "value": canonical_json(packed.row), "parts": parts}


def _reject_entry(key: str, reject: Reject) -> dict[str, Any]:
    value = canonical_json({"reason": reject.reason, "detail": reject.detail})
    return {"key": key, "kind": "reject", "value": value, "parts": []}


def _write_slice(storage: Storage, name: str, entries: Iterable[dict[str, Any]]) -> Counter[str]:
    """Write entries while they are made, so that no slice is in memory whole; how many of each kind."""
    kinds: Counter[str] = Counter()
    with storage.scratch() as path:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SLICE) as writer:
            for run in _runs(entries):
                start = sink.tell()
                writer.write_batch(pa.RecordBatch.from_pylist(run, schema=SLICE))
                storage.start_writing(path, start, sink.tell())
                kinds.update(entry["kind"] for entry in run)
        storage.publish(path, name)
    return kinds


def _runs(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    run: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        run.append(entry)
        size += sum(len(part["data"]) for part in entry["parts"])
        if size >= RUN_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run


def read_slice(storage: Storage, name: str) -> Iterator[dict[str, Any]]:
    """Entries of a committed slice, in order.

    Raises:
        pyarrow.ArrowInvalid: the object is cut off or damaged.
    """
    where = f"{FOLDER}/{name}.arrow"
    source = pa.memory_map(storage.path(where)) if storage.is_local else storage.open(where)
    with source, pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            yield from _rows(reader.get_batch(number))


def is_whole(storage: Storage, name: str) -> bool:
    """Whether a committed slice is there to its end; an upload that broke off can leave a part."""
    try:
        with storage.open(f"{FOLDER}/{name}.arrow") as source:
            pa.ipc.open_file(source)
    except (StorageError, pa.ArrowInvalid):
        return False
    return True


def committed_receipt(storage: Storage, name: str) -> Receipt | None:
    """What a worker would have said of a slice it committed; None where there is no such slice."""
    if not is_whole(storage, name):
        return None
    only_kinds = pa.ipc.IpcReadOptions(included_fields=[SLICE.get_field_index("kind")])  # no pixels here
    with storage.open(f"{FOLDER}/{name}.arrow") as source:
        kinds = Counter(pa.ipc.open_file(source, options=only_kinds).read_all()["kind"].to_pylist())
    return Receipt(name=name, made=kinds.total() - kinds["reject"], failed=kinds["reject"])


def _rows(batch: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401, a pyarrow.RecordBatch
    for place in range(batch.num_rows):
        (row,) = batch.slice(place, 1).to_pylist()
        yield row
