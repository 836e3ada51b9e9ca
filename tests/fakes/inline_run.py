"""One step from plan to manifest in this process: as the runner does it, without waiting for workers."""

import hashlib

from shards.executor import Finished
from shards.finish import finish, read_rejects
from shards.index import Directory
from shards.manifest import Manifest, directory_name, read_manifest
from shards.plan import plan_sizes, write_plan
from shards.production import Production
from shards.sample import canonical_json
from shards.storage import Storage
from shards.worker import Job, Worker


class InlineExecutor:
    """Runs each task where it stands."""

    def __init__(self):
        self._worker = Worker()
        self._finished = []

    def has_room(self, at_once=1):
        return not self._finished

    def submit(self, task):
        self._finished.append(Finished(task=task, result=task(self._worker)))

    def wait(self, timeout_s):
        finished, self._finished = self._finished, []
        return finished

    def close(self):
        pass


class Made:
    """A finished directory, opened."""

    def __init__(self, storage, opens):
        self.storage = storage
        self.manifest = read_manifest(storage)
        self.directory = Directory(storage)
        self.samples = [self.directory[key] for key in self.directory.places] if opens else []
        self.rejects = read_rejects(storage)

    @property
    def reasons(self):
        return self.manifest.books.reasons

    def by_instruction(self):
        return {sample.instruction: sample for sample in self.samples}


def run_inline(
    out,
    settings,
    *,
    name="step",
    kind="samples",
    inputs=(),
    shard_size=8,
    parents=None,
    opens=True,
    executor=None,
    slice_size=16,
):
    """Make one directory in the folder `out` and open it; in this process unless an executor is given."""
    out = out if isinstance(out, Storage) else Storage(str(out))
    digest = hashlib.sha256(canonical_json([settings.computed(), [i.uri for i in inputs]])).hexdigest()
    storage = out.child(directory_name(name, digest))
    rows = [row for number, each in enumerate(inputs) for row in Directory(each).rows(number)]
    plan = write_plan(
        storage,
        settings.plan(rows),
        shard_size=shard_size,
        recipe=settings.content(),
        made={},
        copies_from=(),
        read=len(rows) if inputs else None,
    )
    job = Job(
        name=name,
        kind=kind,
        storage=storage,
        inputs=tuple(inputs),
        config=settings.prepared(storage),
        ledger=out.child("ledger"),
    )
    records = Production(
        job,
        plan_sizes(plan, shard_size),
        executor or InlineExecutor(),
        slice_size=slice_size,
        observe=lambda progress: None,
    ).run()
    draft = Manifest(
        name=name,
        type=name,
        hash=digest,
        kind=kind,
        config={"type": name, "settings": settings.computed()},
        parents=parents or {},
    )
    finish(storage, draft, plan, records)
    return Made(storage, opens)
