"""What a run says when it is done: the books of each step, and where to look."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from shards.manifest import Manifest
from shards.storage import Storage

NUMBERS = ("read", "planned", "made", "rejected")


def summarize(console: Console, out: Storage, manifests: Mapping[str, Manifest]) -> None:
    """Print the books of each step and the path of each page."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("step")
    for name in NUMBERS:
        table.add_column(name, justify="right")
    table.add_column("reasons")
    for manifest in manifests.values():
        table.add_row(*_row(manifest))
    console.print(table)
    for manifest in manifests.values():
        if manifest.kind == "page":
            page = next(name for name in manifest.files if name.endswith(".html"))
            console.print(
                f"report: {out.child(manifest.directory).path(page)}", highlight=False, soft_wrap=True
            )


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
