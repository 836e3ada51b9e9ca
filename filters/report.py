"""The report: one self-contained page over finished directories, pictures included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field

from filters import charts
from filters.comparison import NOTE, sides
from filters.findings import Findings
from filters.lineage import trace
from filters.training import bin_words
from shards.books import Books
from shards.driver_step import DriverStep, Input, Result
from shards.manifest import record
from shards.storage import Storage, size_words

FILE = "report.html"
TEMPLATE = "report.html"


class ReportConfig(DriverStep):
    """Settings of `report`."""

    VERSION: ClassVar[int] = 4

    title: str = Field(default="Bakery report", min_length=1, max_length=200, description="of the page")
    gallery: int = Field(default=8, ge=0, le=48, description="samples in each gallery")
    score: str = Field(
        default="consistency",
        description="the documented score, whose intervals are given; a judge without it: its first question",
    )
    base: str = Field(
        default="", description="step `evaluate` that the others are compared with; the first if unset"
    )
    truths: int = Field(
        default=5000, ge=1, description="samples of a directory whose truth is looked up, at most"
    )

    def make(self, inputs: Mapping[str, Sequence[Input]], target: Storage) -> Result:
        """Write `report.html`."""
        page = render(inputs["of"], self).encode()
        target.write(FILE, page)
        return Result(files={FILE: record(target, FILE)}, books=Books(), stats={"page_bytes": len(page)})


def write_page(directories: Sequence[Input], path: Path) -> None:
    """Write the page over finished directories to a local file.

    Raises:
        LineageError: there is nothing to report on, or a directory's parent is missing.
    """
    path.write_text(render(directories, ReportConfig()), encoding="utf-8")


def render(directories: Sequence[Input], config: ReportConfig) -> str:
    """The page as HTML.

    Raises:
        LineageError: there is nothing to report on, or a directory's parent is missing.
    """
    found = Findings(
        trace(directories),
        gallery=config.gallery,
        documented=config.score,
        truths=config.truths,
        base=config.base,
    )
    template = _environment().get_template(TEMPLATE)
    return template.render(title=config.title, found=found, charts=charts, comparison_note=NOTE, sides=sides)


def _environment() -> Environment:
    """Everything is escaped but what `charts` made; a name that is not there is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["percent"] = lambda share: f"{share:.1%}".replace("%", "\u202f%")
    environment.filters["size"] = size_words
    environment.filters["bin_words"] = bin_words
    environment.filters["plain"] = lambda name: str(name).replace("_", " ")
    return environment
