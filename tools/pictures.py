"""Writes pictures into one stored zip, the same bytes every time."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def write_zip(path: Path, pictures: Mapping[str, bytes]) -> None:
    """Stored, not deflated (webp is compressed already), in name order, without dates."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(pictures):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), pictures[name])
