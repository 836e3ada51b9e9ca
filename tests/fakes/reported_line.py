"""A small judged and selected set on the disk, for tests of the page over it."""

import io

import pyarrow.parquet as pq
from PIL import Image

from filters.report import ReportConfig, render
from filters.select import SelectConfig
from page_reader import Page
from shards.books import Books
from shards.driver_step import Input
from shards.finish import REJECT_SCHEMA
from shards.index import pack_sample, write_index, write_packed
from shards.manifest import Manifest, read_manifest, record, write_manifest
from shards.sample import Candidate, EncodedImage, Provenance, Sample
from shards.tables import table_of, write_tables
from shards.tar import TarWriter

HOSTILE = '<script>alert("x")</script><img src="https://example.com/a.png">'
POLICY = {"min_scores": {"consistency": 2.5}, "max_scores": {"copy_paste": 0.5}}
FAULTS = ("none", "none", "none", "wrong_subject", "copy_paste")
SAMPLES = 20
SHARD = 8


def encoded(colour, extension="jpg", size=(96, 64)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[extension])
    return EncodedImage(out.getvalue(), extension)


def make_sample(number):
    references = number % 4 + 1
    return Sample(
        key=f"base-{number:04d}",
        instruction=HOSTILE if number == 0 else f"Put the subject beside {number} others.",
        references=tuple(
            encoded((40 * r, 9 * number, 90), ("jpg", "png", "webp")[r % 3]) for r in range(references)
        ),
        target=encoded((9 * number, 120, 60)),
        subjects=tuple(
            (
                Candidate(name="fox", phrase="the red fox", box=(4, 4, 40, 60)),
                Candidate(name="cat", phrase="the <b>cat</b>", is_target=False, box=(50, 4, 90, 60)),
            )
            for _ in range(references)
        ),
        provenance=Provenance(
            source="test",
            licence="CC0-1.0",
            task="composition_multi",
            case="character",
            truth={"fault": FAULTS[number % len(FAULTS)]},
        ),
    )


def finish(storage, manifest):
    names = [f"{folder}/{name}" for folder in storage.folders() for name in storage.names(folder)]
    names += [name for name in storage.names() if name.endswith(".parquet")]
    files = {name: record(storage, name) for name in names if not name.startswith(".tmp")}
    write_manifest(storage, Manifest(**{"hash": "0" * 64, "config": {}, "files": files, **manifest}))
    return Input(storage=storage, manifest=read_manifest(storage))


def write_samples(out, samples=None, name="base", parents=None, refused=2):
    storage = out.child(f"{name}-{'0' * 12}")
    made = samples if samples is not None else [make_sample(n) for n in range(SAMPLES)]
    for shard in range(0, len(made), SHARD):
        with storage.scratch() as path:
            with TarWriter(path) as writer:
                rows = [write_packed(writer, pack_sample(s, "test")) for s in made[shard : shard + SHARD]]
            storage.publish(path, f"shards/{shard // SHARD:05d}.tar")
        with storage.scratch() as path:
            write_index(rows, path)
            storage.publish(path, f"index/{shard // SHARD:05d}.parquet")
    lost = [
        {"key": f"base-x{n}", "stage": name, "reason": "undecodable", "detail": f"ref0: {HOSTILE}"}
        for n in range(refused)
    ]
    with storage.scratch() as path:
        pq.write_table(REJECT_SCHEMA.empty_table().from_pylist(lost, schema=REJECT_SCHEMA), path)
        storage.publish(path, "rejects.parquet")
    books = Books(
        planned=len(made) + refused,
        made=len(made),
        failed=refused,
        reasons={"undecodable": refused} if refused else {},
    )
    config = {"type": "single_candidate", "settings": {"samples": len(made)}, "shard_size": SHARD}
    return finish(
        storage,
        {
            "name": name,
            "type": "single_candidate",
            "kind": "samples",
            "config": config,
            "books": books,
            "parents": parents or {},
            "stats": {"seconds": 12.345, "samples_per_s": 4.321, "worker_s": 9.0, "processes": 2},
            "versions": {"python": "3.11.9"},
        },
    )


def row(number, value, status="ok", reference=-1):
    return {
        "key": f"base-{number:04d}",
        "reference": reference,
        "candidate": -1,
        "probabilities": [],
        "mode": value,
        "expected": value,
        "label_mass": 1.0,
        "status": status,
    }


def score_rows():
    """Clean samples score high, faulty ones low; one clean one is just below the bound, one unreadable."""
    clean = {n: FAULTS[n % len(FAULTS)] == "none" for n in range(SAMPLES)}
    consistency = [row(n, (3.0 + n / 40) if clean[n] else 1.0 + n / 40) for n in range(SAMPLES)]
    consistency[1] = row(1, 2.4)
    consistency[2] = row(2, None, "truncated")
    copied = [row(n, 0.9 if FAULTS[n % len(FAULTS)] == "copy_paste" else 0.1) for n in range(SAMPLES)]
    presence = [row(n, 0.75 if r else 0.5, reference=r) for n in range(SAMPLES) for r in range(n % 4 + 1)]
    return {"consistency": consistency, "copy_paste": copied, "presence": presence}


def write_scores(out, of, rows=None):
    storage = out.child(f"judged-{'0' * 12}")
    for question, found in (rows or score_rows()).items():
        with storage.scratch() as path:
            write_tables([table_of(found)], path)
            storage.publish(path, f"scores/{question}.parquet")
    count = of.manifest.books.made
    return finish(
        storage,
        {
            "name": "judged",
            "type": "judge",
            "kind": "scores",
            "config": {"type": "judge", "settings": {"questions": ["consistency"], "rubric": []}},
            "parents": {"input": [of.manifest.directory]},
            "books": Books(read=count, used=count, planned=count, made=count),
        },
    )


def write_selected(out, of, scores, policy=None):
    storage = out.child(f"kept-{'0' * 12}")
    config = SelectConfig(**(policy or POLICY))
    result = config.make({"input": [of], "scores": [scores]}, storage)
    return finish(
        storage,
        {
            "name": "kept",
            "type": "select",
            "kind": "selection",
            "config": {"type": "select", "settings": config.computed()},
            "parents": {"input": [of.manifest.directory], "scores": [scores.manifest.directory]},
            "books": result.books,
        },
    )


def page_of(directories, **settings):
    return Page(render(directories, ReportConfig(**settings)))
