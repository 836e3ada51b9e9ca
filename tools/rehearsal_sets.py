"""Sets of many tiny pictures, for a rehearsal at the real size: as jsonl with tar.gz, as parquet, as tars.

`python -m tools.rehearsal_sets FOLDER --samples 150000`, a third of them in each; then a recipe with
`import_jsonl`, `import_parquet` (`clean: {min_side_px: 32}`) and `import`. One
picture in a hundred is that before it, so that `dedup` has something to find.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FILES = 4  # of each set
SIDE_PX = 48
REPEATED = 0.01
GROUP_ROWS = 1000


def pictures(seed: int) -> Iterator[bytes]:
    """JPEGs without end."""
    random = np.random.default_rng(seed)
    last = b""
    while True:
        if not last or random.random() >= REPEATED:
            small = random.integers(0, 255, (5, 5, 3), dtype=np.uint8)
            sink = io.BytesIO()
            Image.fromarray(small).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(sink, "JPEG")
            last = sink.getvalue()
        yield last


def numbers(count: int, file: int) -> range:
    """Of the samples in one of a set's files."""
    return range(file * count // FILES, (file + 1) * count // FILES)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_jsonl(folder: Path, count: int, drawn: Iterator[bytes]) -> None:
    """A jsonl, its pictures in tar.gz."""
    folder.mkdir(parents=True)
    with (folder / "train.jsonl").open("w") as lines:
        for file in range(FILES):
            with tarfile.open(folder / f"images_{file}.tar.gz", "w:gz", compresslevel=1) as tar:
                for number in numbers(count, file):
                    *references, target = [
                        f"images_{file}/{number:07d}_{part}.jpg" for part in range(2 + number % 2)
                    ]
                    for name in (*references, target):
                        add(tar, name, next(drawn))
                    words = f"Put it on table {number}"
                    row = {"instruction": words, "input_images": references, "output_image": target}
                    lines.write(json.dumps(row) + "\n")


def write_parquet(folder: Path, count: int, drawn: Iterator[bytes]) -> None:
    """Pictures as structs."""
    folder.mkdir(parents=True)
    for file in range(FILES):
        rows = [
            {
                "instruction": f"A cup on shelf {number}",
                "input_images": [{"bytes": next(drawn), "path": None} for _ in range(1 + number % 2)],
                "output_image": {"bytes": next(drawn), "path": None},
            }
            for number in numbers(count, file)
        ]
        table = pa.Table.from_pylist(rows)
        pq.write_table(table, folder / f"train-{file:05d}.parquet", row_group_size=GROUP_ROWS)


def write_tars(folder: Path, count: int, drawn: Iterator[bytes]) -> None:
    """WebDataset tars."""
    folder.mkdir(parents=True)
    for file in range(FILES):
        with tarfile.open(folder / f"{file}.tar", "w") as tar:
            for number in numbers(count, file):
                add(tar, f"w{number:07d}.json", json.dumps({"instruction": f"A lamp, {number}"}).encode())
                for part in (*(f"ref{n}" for n in range(1 + number % 2)), "target"):
                    add(tar, f"w{number:07d}.{part}.jpg", next(drawn))


def main() -> None:
    """Write the three sets."""
    parser = argparse.ArgumentParser(description="Sets of many tiny pictures.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=150_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawn = pictures(given.seed)
    for name, write in (("jsonl", write_jsonl), ("parquet", write_parquet), ("tars", write_tars)):
        write(given.folder / name, given.samples // 3, drawn)


if __name__ == "__main__":
    main()
