"""Small benchmarks in the published formats, with rows that no case can be made of."""

import pyarrow as pa
import pyarrow.parquet as pq
from published_sets import hash_number, picture, write_files, write_jsonl

from datagen.draw_benchmark import DrawBenchmarkConfig
from shards.plan import Refused
from shards.stage import Planned

IMAGES = {"model": "m", "revision": "r"}

# SconeEval's six kinds of task, one case each: (key, task, case type, references, subjects, labels).
CASES = [
    ("comp-1", "composition_single", "C", 1, None, None),
    ("comp-2", "composition_multi", "C+O", 2, None, None),
    ("dist-1", "distinction_single_cross", "O", 1, [["a red fox", "a mug"]], [[1, 0]]),
    ("dist-2", "distinction_single_intra", "C", 1, [["the man on the left", "the other man"]], [[1, 0]]),
    ("dist-3", "distinction_multi_cross", "C+S", 2, [["a nurse", "a dog"], []], [[1, 0], []]),
    ("dist-4", "distinction_multi_intra", "C+O", 2, [["a cook"], ["a lamp", "a lamp"]], [[1], [0, 1]]),
]


def sconeeval(root, cases=CASES, more=(), pictures=None):
    """`data.jsonl` and pictures beside it; a single picture in a column of its own; `more` rows behind."""
    found, rows = {}, []
    for key, task, case, references, names, labels in cases:
        paths = [f"images/{key}_{n}.{'jpg' if n else 'png'}" for n in range(references)]
        found |= {
            p: picture(hash_number(p), size=(160, 96), form="JPEG" if p[-3:] == "jpg" else "PNG")
            for p in paths
        }
        row = {"key": key, "instruction": f"Paint {key} at sea.", "task_type": task, "case_type": case}
        row |= {"input_image": paths[0]} if references == 1 else {"input_images": paths}
        row |= {} if names is None else {"subject_list": names, "subject_label": labels}
        rows.append(row)
    write_files(root, {**found, **(pictures or {})})
    write_jsonl(root / "data.jsonl", [*rows, *more])
    return rows, found


TYPES = ["single_character", "multi_object", "scene_character_object"]


def omnicontext():
    """Three English cases, one Chinese; rows as they are published, the pictures by path."""
    rows = []
    for n, kind in enumerate([*TYPES, "single_object"]):
        references = (1, 2, 3, 1)[n]
        rows.append(
            {
                "key": f"{n:064x}",
                "task_type": kind,
                "instruction": f"Case {n} in a park" if n < 3 else "公园里",
                "instruction_language": "en" if n < 3 else "cn",
                "input_images": [f"images/{n}_{place}.png" for place in range(references)],
            }
        )
    return rows, {
        path: picture(hash_number(path), size=(64, 96)) for row in rows for path in row["input_images"]
    }


def omnicontext_jsonl(root):
    rows, pictures = omnicontext()
    write_files(root, pictures)
    write_jsonl(root / "omnicontext.jsonl", rows)
    return rows, pictures


def omnicontext_parquet(root, more=()):
    rows, pictures = omnicontext()
    cells = [
        {**row, "input_images": [{"bytes": pictures[path], "path": path} for path in row["input_images"]]}
        for row in rows
    ]
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([*cells, *more]), root / "train-00000.parquet", row_group_size=2)
    return rows, pictures


def plan_of(root, benchmark="sconeeval", **settings):
    config = DrawBenchmarkConfig(benchmark=benchmark, path=str(root), images=IMAGES, **settings)
    return list(config.plan())


def planned(plan):
    return [entry for entry in plan if isinstance(entry, Planned)]


def refused(plan):
    return {entry.origin: entry for entry in plan if isinstance(entry, Refused)}


def keys(plan):
    return [entry.key for entry in planned(plan)]
