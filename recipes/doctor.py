"""Looks for what would go wrong: versions, shadowed modules, space, memory, ports, the cluster's nodes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shards.executor import EngineError
from shards.manifest import versions
from shards.storage import SCRATCH, Storage

PACKAGES = ("shards", "datagen", "filters", "recipes", "train")
NEEDED = ("pyarrow", "pillow", "numpy", "onnxruntime", "pydantic", "webdataset")
OPTIONAL = ("ray", "torch", "transformers")
FREE_BYTES = 5 << 30
NAME = ".doctor"  # of a file that is written to see whether one can be


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is well, and what to do where it is not."""

    is_well: bool
    what: str


def examine(out: Storage, ray_address: str | None = None) -> Iterator[Finding]:
    """Look at this machine, the output and, if an address is given, every node of the cluster."""
    yield from _versions()
    yield from _shadows()
    yield from _space(out)
    yield from _loopback()
    if ray_address:
        yield from _nodes(ray_address)


def _versions() -> Iterator[Finding]:
    yield Finding(sys.version_info >= (3, 11), f"python {sys.version.split()[0]} (3.11 or later is needed)")
    for package in (*NEEDED, *OPTIONAL):
        try:
            yield Finding(True, f"{package} {version(package)}")
        except PackageNotFoundError:
            is_needed = package in NEEDED
            yield Finding(not is_needed, f"{package} is not installed{'' if is_needed else ' (optional)'}")


def _shadows() -> Iterator[Finding]:
    """Our packages have plain names: a user's folder `shards/` in front of them would be imported instead."""
    ours = Path(__file__).parent.parent
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        found = Path(spec.origin).parent if spec and spec.origin else None
        if found != ours / package:
            yield Finding(
                False, f"import {package} finds {found}, not {ours / package}: rename it or run elsewhere"
            )
        elif Path.cwd() != ours and (Path.cwd() / package).is_dir():
            yield Finding(
                False, f"{Path.cwd() / package} would hide our {package} under `python -m`: run elsewhere"
            )
        else:
            yield Finding(True, f"import {package} finds ours")


def _space(out: Storage) -> Iterator[Finding]:
    new = _missing_folders(out)
    try:
        out.write(NAME, b"x", is_durable=False)
        out.delete(NAME)
        yield Finding(True, f"{out.uri} can be written")
    except OSError as error:
        yield Finding(False, f"{out.uri} cannot be written: {error}")
    for folder in new:  # which a run makes itself; one in which something lies by now stays
        with suppress(OSError):
            folder.rmdir()
    if out.is_local:
        free = free_bytes(out)
        yield Finding(free > FREE_BYTES, f"{free / 1e9:.1f} GB free in {out.uri} (5 GB or more is well)")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = os.cpu_count() or 1
    yield Finding(
        memory / cores > 1 << 30, f"{cores} cores, {memory / 1e9:.1f} GB of memory (1 GB a worker is well)"
    )


def free_bytes(out: Storage) -> int:
    """What is free where an output on a disk is, or will be made."""
    return shutil.disk_usage(next(path for path in _above(out) if path.is_dir())).free


def _above(out: Storage) -> list[Path]:
    """The folder of an output and those above it, on a disk."""
    folder = Path(out.path())
    return [folder, *folder.parents]


def _missing_folders(out: Storage) -> list[Path]:
    """Folders that a first file in an output on a disk makes, the deepest first."""
    folders = [Path(out.path(SCRATCH)), *_above(out)] if out.is_local else []
    return [folder for folder in folders if not folder.exists()]


def _loopback() -> Iterator[Finding]:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield Finding(True, f"a port on loopback opens ({server.getsockname()[1]})")
    except OSError as error:
        yield Finding(False, f"no port on loopback opens: {error}")


def _nodes(address: str) -> Iterator[Finding]:
    from shards import ray_executor

    own = versions()
    try:
        nodes = ray_executor.cluster_versions(address)
    except EngineError as error:
        yield Finding(False, str(error))
        return
    for node, found in nodes.items():
        wrong = {name: found.get(name) for name in own if found.get(name) != own[name]}
        yield Finding(
            not wrong, f"node {node}: {'versions as here' if not wrong else f'differs: {wrong}, here {own}'}"
        )
