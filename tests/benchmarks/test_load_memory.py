"""Host memory of loading a checkpoint of full-width layers on two ranks: a gigabyte of checkpoint costs what?

`make bench` runs it: it writes 8.8 GB of weights (7 of the 28 layers) to the temporary folder, and its two
CPU ranks hold them sharded. On a GPU the shards are the device's; what is over them is what a host pays.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from train.config import BAGEL_7B
from train.parallel import joined_world, shard
from train.pretrained import build_meta, materialize
from train.weights import load_file_into, save_streaming

LAYERS = 7


def config():
    return replace(BAGEL_7B, language=replace(BAGEL_7B.language, layers=LAYERS))


def write_dummy(path):
    """Random numbers, repeated; one tensor at a time is in memory."""
    noise = torch.randn(1 << 20).bfloat16()

    def fill(_name, value):
        return noise.repeat(-(-value.numel() // len(noise)))[: value.numel()].view(value.shape)

    save_streaming(path, build_meta(config()).state_dict(), torch.bfloat16, fill)


def load(path):
    """One rank: load its shards and print what memory was its own at most, in GB."""
    with joined_world("cpu") as world:
        model = build_meta(config()).to(torch.bfloat16)
        shard(model, world, torch.bfloat16)
        materialize(model, "cpu")
        before, peak, loaded = private_gb(), [0.0], threading.Event()

        def watch():
            while not loaded.wait(0.01):
                peak[0] = max(peak[0], private_gb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        load_file_into(model, Path(path))
        loaded.set()
        watcher.join()
        held = sum(p.to_local().numel() * p.element_size() for p in model.parameters())
        tables = sum(b.numel() * b.element_size() for b in model.buffers())
        print(json.dumps({"peak": peak[0], "before": before, "held": (held + tables) / 1e9}))


def private_gb():
    """Private memory: pages of the mapped file are the page cache's, shared and given back on demand."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text)[1]) * 1024 / 1e9


@pytest.mark.bench
def test_host_memory_of_loading_on_two_ranks(tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    write_dummy(path)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(path)],
            env=os.environ | shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = [json.loads(rank.communicate()[0].splitlines()[-1]) for rank in ranks]
    size = path.stat().st_size / 1e9
    over = sum(one["peak"] - one["held"] for one in found)
    with capsys.disabled():
        print(f"\n{size:.2f} GB of checkpoint on 2 ranks: {found}")
        print(f"{over:.2f} GB of host memory over the shards, {over / size:.3f} GB a GB of checkpoint")
    assert over < 0.5 * size


if __name__ == "__main__":
    load(sys.argv[1])
