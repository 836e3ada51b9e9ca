"""Checkpoints of a run: written aside by all ranks, then renamed; the last few are kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch.distributed import checkpoint as dcp

from train.config import ConfigError
from train.parallel import World
from train.shared_folder import wait_until_seen

_NAME = re.compile(r"step-(\d{7})")
FOLDER = "checkpoints"  # of a stage
ABOUT = "about.json"


def checkpoint_path(root: Path, step: int) -> Path:
    """Where the checkpoint after so many steps is."""
    return root / f"step-{step:07d}"


def finished(root: Path) -> list[Path]:
    """Whole checkpoints, oldest first; anything else in the folder is left alone."""
    if not root.exists():
        return []
    return sorted(path for path in root.iterdir() if _NAME.fullmatch(path.name) and (path / ABOUT).exists())


def save(
    root: Path, step: int, state: Mapping[str, Any], about: Mapping[str, Any], keep: int, world: World
) -> Path:
    """Write a checkpoint; all ranks call it.

    A process killed at any moment leaves the last good one: the new one has its name only when every rank
    has written and what describes it is on disk.

    Args:
        root: folder of the run's checkpoints.
        step: steps done.
        state: tensors, sharded as they are.
        about: JSON beside them.
        keep: how many to keep.
        world: the processes.
    """
    path, partial = checkpoint_path(root, step), root / f".step-{step:07d}.partial"
    if world.agreed(path.exists()):
        return path
    if world.is_first:
        for left in root.glob(".step-*.partial"):  # by killed processes, at whatever step that was
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
    world.wait()
    dcp.save(dict(state), checkpoint_id=partial)
    world.wait()
    if world.is_first:
        _write_synced(partial / ABOUT, json.dumps({"step": step, **about}, indent=2, default=str) + "\n")
        partial.rename(path)
        _sync_folder(root)
        for old in finished(root)[:-keep]:
            shutil.rmtree(old)
    world.wait()
    return path


def restore(root: Path, state: dict[str, Any], run: Mapping[str, Any], world: World) -> int:
    """Read the last checkpoint into `state`'s tensors, resharding where needed; return its steps, 0 if none.

    All ranks call it, and read the checkpoint that the first one sees as the last.

    Args:
        root: folder of the run's checkpoints.
        state: tensors of the right names and shapes, overwritten.
        run: what must be as it was, or the run would not be the same run.
        world: the processes.

    Raises:
        ConfigError: the checkpoint is of another run, or this node does not see it.
    """
    found = finished(root)
    step = world.agreed(_step(found[-1]) if found else 0)
    if step == 0:
        return 0
    path = checkpoint_path(root, step)
    about = json.loads(wait_until_seen(path / ABOUT).read_text("utf-8"))
    check_same(path, about.get("run", {}), run)
    dcp.load(state, checkpoint_id=path)
    return step


def drop(root: Path, world: World) -> None:
    """Delete the checkpoints of a stage whose model is exported: nothing goes on from them."""
    if world.is_first:
        shutil.rmtree(root, ignore_errors=True)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def check_same(where: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with what other settings or data made.

    Args:
        where: it lies.
        before: the run that made it.
        now: the run that would go on.

    Raises:
        ConfigError: naming every difference.
    """
    lines = [line for name, value in now.items() for line in _changes(name, before.get(name), value)]
    if lines:
        raise ConfigError(f"{where}: {'; '.join(lines)}; train into another directory, or set it back")


def _changes(name: str, was: object, now: object) -> Iterator[str]:
    """What differs, by the smallest setting that does.

    >>> list(_changes("stage", {"lr": 1, "steps": 2}, {"lr": 1, "steps": 3}))
    ['stage.steps: expected 2, got 3']
    """
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}):
            yield from _changes(f"{name}.{key}", was.get(key), now.get(key))
    elif was != now:
        yield f"{name}: expected {was!r}, got {now!r}"


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def versions() -> dict[str, str]:
    """Of the software that trains, with the git commit where there is one."""
    found = {}
    for name in ("scone-bakery", "torch", "safetensors", "transformers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    git = shutil.which("git")
    if git:
        command = [git, "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        if done.returncode == 0:
            found["commit"] = done.stdout.strip()
    return found
