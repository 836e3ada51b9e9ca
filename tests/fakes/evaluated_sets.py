"""Small benchmarks on the disk: drawn samples, what judges said of them, and evaluations of both."""

import pyarrow.parquet as pq

from filters.evaluate import EvaluateConfig
from reported_line import finish
from shards.books import Books
from shards.finish import REJECT_SCHEMA
from shards.index import pack_sample, write_index, write_packed
from shards.sample import Candidate, Provenance
from shards.tables import table_of, write_tables
from shards.tar import TarWriter
from tiny_samples import make_sample

HASH = "0" * 12
PAIR = (Candidate(name="fox"), Candidate(name="cat", is_target=False))


def case(number, task="composition_single", round_=0, subjects=None, **provenance):
    """A picture drawn for a case, in one of its rounds."""
    key = f"case-{number:03d}"
    subjects = subjects or ((PAIR,) if task.startswith("distinction") else ((Candidate(name="fox"),),))
    return make_sample(
        number,
        references=len(subjects),
        key=f"{key}-r{round_}" if round_ else key,
        subjects=subjects,
        provenance=Provenance(
            source="made",
            licence="CC0-1.0",
            task=task,
            parents=(key,),
            origin={"case_key": key, "round": round_},
            **provenance,
        ),
    )


def write_drawn(out, samples, name="drawn", rejected=(), type_="draw", reason="refused"):
    storage = out.child(f"{name}-{HASH}")
    with storage.scratch() as path:
        with TarWriter(path) as writer:
            rows = [write_packed(writer, pack_sample(sample, "test")) for sample in samples]
        storage.publish(path, "shards/00000.tar")
    with storage.scratch() as path:
        write_index(rows, path)
        storage.publish(path, "index/00000.parquet")
    lost = [{"key": key, "stage": name, "reason": reason, "detail": ""} for key in rejected]
    with storage.scratch() as path:
        pq.write_table(REJECT_SCHEMA.empty_table().from_pylist(lost, schema=REJECT_SCHEMA), path)
        storage.publish(path, "rejects.parquet")
    books = Books(
        planned=len(samples) + len(lost),
        made=len(samples),
        failed=len(lost),
        reasons={reason: len(lost)} if lost else {},
    )
    return finish(storage, {"name": name, "type": type_, "kind": "samples", "books": books})


def answer(key, value, status="ok", reference=-1, candidate=-1):
    return {
        "key": key,
        "reference": reference,
        "candidate": candidate,
        "probabilities": [],
        "mode": None if value is None else float(round(value)),
        "expected": value,
        "label_mass": 0.875,
        "status": status,
    }


def graded(samples, following=4.0, consistency=4.0):
    """Answers of a judge that thinks the same of every picture."""
    return {
        "instruction_following": [answer(sample.key, following) for sample in samples],
        "consistency": [answer(sample.key, consistency) for sample in samples],
    }


def seen(samples, *shown):
    """Answers about every candidate of all these pictures, in order of candidates."""
    return [
        answer(sample.key, float(is_shown), reference=reference, candidate=number)
        for sample in samples
        for (reference, number), is_shown in zip(
            ((r, n) for r, candidates in enumerate(sample.subjects) for n in range(len(candidates))),
            shown,
            strict=True,
        )
    ]


def write_answers(out, of, rows, name="judged", judge="j1"):
    storage = out.child(f"{name}-{HASH}")
    for question, found in rows.items():
        with storage.scratch() as path:
            write_tables([table_of(found)], path)
            storage.publish(path, f"scores/{question}.parquet")
    count = len({row["key"] for found in rows.values() for row in found})
    settings = {
        "judge": {"model": judge},
        "rubric": [[question, f"{question} in words"] for question in rows],
    }
    return finish(
        storage,
        {
            "name": name,
            "type": "judge",
            "kind": "scores",
            "config": {"type": "judge", "settings": settings},
            "parents": {"input": [of.manifest.directory]},
            "books": Books(read=count, used=count, planned=count, made=count),
        },
    )


def write_evaluation(out, of, *judged, name="scored", **settings):
    """What the runner does with the step."""
    storage = out.child(f"{name}-{HASH}")
    config = EvaluateConfig(**{"resamples": 200, **settings})
    result = config.make({"input": [of], "scores": judged}, storage)
    return finish(
        storage,
        {
            "name": name,
            "type": "evaluate",
            "kind": "scores",
            "config": {"type": "evaluate", "settings": config.computed()},
            "parents": {
                "input": [of.manifest.directory],
                "scores": [each.manifest.directory for each in judged],
            },
            "files": result.files,
            "books": result.books,
            "stats": result.stats,
        },
    )
