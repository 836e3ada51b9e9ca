"""Scone-S2I-57K as released: `image` a list of encoded pictures, the target last, and `instruction`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from datagen.importers.parquet import HfSettings


class SconeParquetSettings(HfSettings):
    """Settings of `import_scone_parquet`; BAGEL's and Echo-4o's layouts are one `columns:` away.

    Source: facts/data.md 2. The set's licence is not known: name it with `licence`.
    """

    SOURCE: ClassVar[str] = "Scone-S2I-57K"
    NAMES: ClassVar[Mapping[str, str]] = {"instruction": "instruction", "images": "image"}
