"""The folder that all ranks share: whether they do, and what one node wrote and another waits to see."""

from __future__ import annotations

import secrets
import socket
import time
from pathlib import Path

import torch

from train.config import ConfigError
from train.parallel import World

SEEN_S = 120.0  # a network file system may answer from what it knew of a folder for a minute
LOOK_S = 0.1


def wait_until_seen(path: Path) -> Path:
    """A path that another rank has written, once this node sees it.

    Raises:
        ConfigError: it does not for `SEEN_S`.
    """
    if not is_seen(path):
        raise ConfigError(
            f"{path}: expected to see on {socket.gethostname()} what the first rank wrote, got nothing in "
            f"{SEEN_S:g} s; train into a folder that every node mounts at the same place"
        )
    return path


def is_seen(path: Path) -> bool:
    """Whether this node sees a path within `SEEN_S`."""
    end_s = time.monotonic() + SEEN_S
    while not path.exists():
        if time.monotonic() > end_s:
            return False
        time.sleep(LOOK_S)
    return True


def check_shared(folder: Path, world: World) -> None:
    """Refuse a folder that is not the same one on every node; all ranks call it.

    Checkpoints are written by all ranks into one folder. Were there several, the run would train for as long
    as it lasts, and could never go on.

    Raises:
        ConfigError: on every rank; where a node does not see it, with that node's name.
    """
    if world.size == 1:
        return
    mark = folder / f".seen-{world.agreed(secrets.randbits(62)):x}"
    if world.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".seen-*"):  # by a process that was killed here
            left.unlink()
        mark.touch()
    world.wait()
    seen = is_seen(mark)
    unseen = int(world.total(torch.tensor(int(not seen), device=world.device)))
    if world.is_first:
        mark.unlink()
    if not seen:
        wait = f"did not see {mark.name} there within {SEEN_S:g} s"
        raise ConfigError(
            f"out: expected one folder for all ranks, got {folder}, but rank {world.rank} on "
            f"{socket.gethostname()} {wait}; give a folder that every node mounts at the same place"
        )
    if unseen:
        raise ConfigError(
            f"out: expected one folder for all ranks, got {folder}, which {unseen} of {world.size} ranks do "
            "not see; their own errors name their nodes"
        )
