"""The parquet that the released Scone and BAGEL trainers read, with all that their configuration needs."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.exporters.kept import ExportError, Kept, KeptSample, Target
from datagen.exporters.row_groups import Layout, layout, rows_by_worker
from datagen.tokens import TOKENS, sample_tokens

# Extra columns are harmless to the released loader (facts/data.md 2); the key leads back to the sample.
SCHEMA = pa.schema(
    [("image", pa.list_(pa.binary_view())), ("instruction", pa.string()), ("key", pa.string())]
)
FOLDER = "parquet_data"
# Encoded pictures do not compress again, and the least and largest of them tell nobody anything. Pages of a
# few pictures: the writer then copies what the cache still holds. Views are a matter of this process: in the
# file the column is plain binary, and readers are told nothing else.
HOW: Mapping[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": ["key"],
    "write_batch_size": 2,
    "data_page_size": 1 << 20,
    "store_schema": False,
}
INLINE_BYTES = 12  # of a view: what is longer stays in its own buffer


@dataclass(frozen=True, kw_only=True)
class SconeOptions:
    """How the released trainer will be run on the export.

    Attributes:
        name: of the set in DATASET_INFO.
        gpus: of the run.
        workers: loader processes of each GPU.
        rows_a_file: samples in a file, about.
        data_dir: where the trainer will find the files; where they are written unless set.
    """

    name: str
    gpus: int = 8
    workers: int = 3
    rows_a_file: int = 1000
    data_dir: str = ""


def export_scone(kept: Kept, target: Target, options: SconeOptions) -> list[str]:
    """Write the set; return lines for a person: what to paste where, and what each worker will see.

    Raises:
        ExportError: the set is too small for the run, the layout would lose rows, or nobody said where the
            trainer will find what is written into an object store.
    """
    if not (target.storage.is_local or options.data_dir):
        raise ExportError(
            f"scone-parquet: expected a path of the trainer's machine, got {target.storage.uri}; say with "
            "--data-dir where the trainer will find the files, e.g. /data/parquet_data/NAME"
        )
    planned = layout(len(kept), options.rows_a_file, options.gpus, options.workers)
    seen = rows_by_worker(planned.groups, options.gpus, options.workers)
    if sum(seen) != len(kept):
        raise ExportError(f"scone-parquet: expected {len(kept)} rows for the workers, got {sum(seen)}")
    too_long = 0
    samples = kept.samples()
    names = []
    for number, groups in enumerate(planned.files):
        names.append(f"{options.name}_{number:05d}.parquet")
        too_long += _write_file(target, f"{FOLDER}/{options.name}/{names[-1]}", samples, groups)
    data_dir = options.data_dir.rstrip("/") or target.storage.path(f"{FOLDER}/{options.name}")
    root = os.path.dirname(os.path.dirname(data_dir))  # noqa: PTH120, the trainer's path, perhaps of another machine
    info = os.path.join(root, "parquet_info", f"{options.name}.json")  # noqa: PTH118, as above
    target.write(f"parquet_info/{options.name}.json", _info(data_dir, names, planned))
    return [*_to_paste(kept, options, data_dir, info, len(names)), *_told(seen, planned, too_long)]


def _write_file(target: Target, name: str, samples: Iterator[KeptSample], groups: Sequence[int]) -> int:
    """One file, a row group in memory at a time; return how many samples the trainer would skip."""
    too_long = 0
    with target.storage.scratch() as path:
        with pq.ParquetWriter(path, SCHEMA, **HOW) as writer:
            for rows in groups:
                group = list(islice(samples, rows))
                too_long += sum(tokens_of(sample) > TOKENS for sample in group)
                writer.write_table(_table(group), row_group_size=rows)
        target.publish(path, name)
    return too_long


def _table(samples: Sequence[KeptSample]) -> pa.Table:
    pictures = [[data for _, data in sample.images] for sample in samples]
    texts = [[instruction_of(sample) for sample in samples], [sample.key for sample in samples]]
    return pa.table([_viewed(pictures), *(pa.array(text, pa.string()) for text in texts)], schema=SCHEMA)


def _viewed(pictures: Sequence[Sequence[bytes]]) -> pa.ListArray:
    """Lists of pictures as they lie in memory: a view each, nothing copied."""
    flat = [data for each in pictures for data in each]
    views = b"".join(_view(data, number) for number, data in enumerate(flat))
    buffers = [None, pa.py_buffer(views), *(pa.py_buffer(data) for data in flat)]
    values = pa.Array.from_buffers(pa.binary_view(), len(flat), buffers)
    ends = accumulate((len(each) for each in pictures), initial=0)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def _view(data: bytes, number: int) -> bytes:
    """A view of the whole of a buffer.

    Source: Arrow columnar format, variable-size binary view layout.
    """
    if len(data) <= INLINE_BYTES:
        return struct.pack("<i12s", len(data), data)
    return struct.pack("<i4sii", len(data), data[:4], number, 0)


def instruction_of(sample: KeptSample) -> str:
    """The instruction in a sample's JSON."""
    return str(json.loads(sample.parts["json"])["instruction"])


def tokens_of(sample: KeptSample) -> int:
    """What the trainer would count for a sample."""
    sizes = [(m["width"], m["height"]) for m in sample.row["members"] if m["width"]]
    return sample_tokens(sizes[:-1], sizes[-1], instruction_of(sample))


def _info(data_dir: str, names: Sequence[str], planned: Layout) -> bytes:
    """`parquet_info`: its keys must equal os.path.join(data_dir, name) to the letter."""
    value = {
        os.path.join(data_dir, name): {"num_row_groups": len(groups), "num_rows": sum(groups)}  # noqa: PTH118
        for name, groups in zip(names, planned.files, strict=True)
    }
    return json.dumps(value, indent=1).encode()


def _to_paste(kept: Kept, options: SconeOptions, data_dir: str, info: str, files: int) -> list[str]:
    return [
        "data/dataset_info.py, in DATASET_INFO['s2i']:",
        f"        {options.name!r}: {{",
        f"            'data_dir': {data_dir!r},",
        f"            'num_files': {files},",
        f"            'num_total_samples': {len(kept)},",
        f"            'parquet_info_path': {info!r},",
        "        },",
        "data/configs/NAME.yaml:",
        "s2i:",
        "  dataset_names:",
        f"  - {options.name}",
        "  image_transform_args: {image_stride: 16, max_image_size: 1024, min_image_size: 512}",
        "  vit_image_transform_args: {image_stride: 14, max_image_size: 518, min_image_size: 224}",
        "  is_mandatory: false",
        "  num_used_data:  # one number a name: the loader drops names without one and says nothing",
        f"  - {files}",
        "  weight: 1",
    ]


def _told(seen: Sequence[int], planned: Layout, too_long: int) -> list[str]:
    lines = [
        (
            f"{sum(seen)} rows in {len(planned.files)} files and {len(planned.groups)} row groups; each of "
            f"{len(seen)} loader workers sees {min(seen)} to {max(seen)} rows, none is left over"
        )
    ]
    if too_long:
        lines.append(f"{too_long} samples have more than {TOKENS} tokens: the trainer skips them in silence")
    return lines
