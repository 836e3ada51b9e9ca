"""What a run says when it is done: the books of each step, what was rejected and why, where to look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from shards.finish import REJECTS
from shards.manifest import Manifest
from shards.storage import Storage

NUMBERS = ("read", "planned", "made", "rejected")
OF_A_REASON, OF_A_STEP = 2, 6  # rejects that are named


def summarize(console: Console, out: Storage, manifests: Mapping[str, Manifest]) -> None:
    """Print the books of each step, some of what it rejected, a benchmark's figures, each page's path."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step")
    for name in NUMBERS:
        table.add_column(name, justify="right")
    table.add_column("reasons")
    for manifest in manifests.values():
        table.add_row(*_row(manifest))
    console.print(table)
    for manifest in manifests.values():
        for line in _rejected(out, manifest):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    for manifest in manifests.values():
        if "figures" in manifest.stats:
            console.print(f"{manifest.name}: {manifest.stats['figures']}", highlight=False, soft_wrap=True)
    for manifest in manifests.values():
        if manifest.kind == "page":
            page = next(name for name in manifest.files if name.endswith(".html"))
            console.print(
                f"report: {out.child(manifest.directory).path(page)}", highlight=False, soft_wrap=True
            )


def _rejected(out: Storage, manifest: Manifest) -> Iterator[str]:
    """Which samples could not be made, and why: some of each reason, the rarest reason first."""
    count = manifest.books.failed + manifest.books.refused
    if manifest.kind != "samples" or not count:
        return
    storage = out.child(manifest.directory)
    with storage.open(REJECTS) as file:
        table = pq.read_table(file)  # there may be a million of them: only those shown become Python's
    rarest = sorted(pc.value_counts(table.column("reason")).to_pylist(), key=lambda each: each["counts"])
    some = [
        table.filter(pc.equal(table.column("reason"), each["values"])).slice(0, OF_A_REASON)
        for each in rarest
    ]
    shown: list[dict[str, Any]] = pa.concat_tables(some).slice(0, OF_A_STEP).to_pylist()
    for reject in shown:
        yield f"{manifest.name}: {reject['key']}: {reject['reason']}: {reject['detail']}"
    if count > len(shown):
        yield f"{manifest.name}: {count - len(shown)} more in {storage.path(REJECTS)}, and on a report's page"


def _row(manifest: Manifest) -> list[str]:
    books = manifest.books
    if manifest.kind == "page":
        return [manifest.name, "", "", "", "", ""]
    reasons = sorted(books.reasons.items(), key=lambda entry: -entry[1])
    words = [f"{count} {reason}" for reason, count in reasons[:4]]
    if len(reasons) > 4:
        words.append(f"{sum(count for _, count in reasons[4:])} others")
    numbers = (books.read, books.planned, books.made, books.failed + books.refused)
    return [manifest.name, *map(str, numbers), ", ".join(words)]
