"""One step from plan to manifest, as the runner does it; as a program, for tests that kill it."""

import hashlib
import json
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from fake_stage import FakeConfig, read_log
from shards.finish import finish
from shards.index import Directory
from shards.lease import Lease
from shards.manifest import Manifest, directory_name, read_manifest
from shards.plan import plan_sizes, read_summary, write_plan
from shards.production import Production
from shards.sample import canonical_json
from shards.storage import Storage
from shards.worker import Job


def step_hash(config, shard_size, parents):
    value = [type(config).__name__, config.computed(), shard_size, parents]
    return hashlib.sha256(canonical_json(value)).hexdigest()


def run_step(
    out,
    config,
    executor,
    *,
    name="base",
    inputs=(),
    shard_size=8,
    slice_size=4,
    observe=lambda progress: None,
):
    """Make one directory in `out` and return (its storage, its manifest, progress)."""
    kind = getattr(config, "makes", "samples")
    digest = step_hash(config, shard_size, [storage.uri.rpartition("/")[2] for storage in inputs])
    storage = out.child(directory_name(name, digest))
    manifest = read_manifest(storage)
    if manifest is not None:
        return storage, manifest, None
    plan = read_summary(storage) or plan_step(storage, config, inputs, shard_size)
    job = Job(
        name=name,
        kind=kind,
        storage=storage,
        inputs=tuple(inputs),
        config=config,
        ledger=out.child("ledger"),
    )
    production = Production(
        job, plan_sizes(plan, shard_size), executor, slice_size=slice_size, observe=observe
    )
    records = production.run()
    draft = Manifest(name=name, type="fake", hash=digest, kind=kind, config=config.computed())
    return storage, finish(storage, draft, plan, records), production.progress


def plan_step(storage, config, inputs, shard_size):
    rows = [row for number, each in enumerate(inputs) for row in Directory(each).rows(number)]
    return write_plan(
        storage,
        config.plan(rows),
        shard_size=shard_size,
        recipe=config.content(),
        made={},
        copies_from=(),
        read=len(rows) if inputs else None,
    )


def start_engine(engine, workers):
    if engine == "ray":
        from shards.ray_executor import RayExecutor

        return RayExecutor(workers)
    from shards.local_executor import LocalExecutor

    return LocalExecutor(workers)


def main(request):
    """Run a step, and a step that judges it, under a lease; says on stdout when it has begun."""
    out = Storage(request["out"])
    with ExitStack() as stack:
        stack.enter_context(Lease(out))
        executor = stack.enter_context(closing(start_engine(request["engine"], request["workers"])))
        print("begun", flush=True)
        sizes = {"shard_size": request["shard_size"], "slice_size": request["slice_size"]}
        config = FakeConfig(**request["config"])
        storage, _, _ = run_step(out, config, executor, **sizes)
        if request.get("judged"):
            judge = config.model_copy(update={"makes": "scores", "reject": ()})
            run_step(out, judge, executor, name="judge", inputs=[storage], **sizes)
    if request["engine"] == "ray":
        from shards.ray_executor import stop

        stop()


def prepared(out, config, *, inputs=(), kind="samples", shard_size=8):
    """A planned step, ready for `Production`."""
    digest = step_hash(config, shard_size, [storage.uri for storage in inputs])
    storage = out.child(directory_name("base", digest))
    plan_step(storage, config, inputs, shard_size)
    job = Job(
        name="base",
        kind=kind,
        storage=storage,
        inputs=tuple(inputs),
        config=config,
        ledger=out.child("ledger"),
    )
    return storage, job


def made(config):
    """Keys of the samples that a stage of these settings made, in the order of their making."""
    return [key for key, _, _ in read_log(config.log)]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
