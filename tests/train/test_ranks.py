"""What only several processes can show: sharded optimizer steps, how long ranks wait for each other."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_ranks(*arguments, ranks=2):
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests/fakes/rank_checks.py"), *map(str, arguments)],
            env=os.environ | shared | {"RANK": str(rank), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(ranks)
    ]
    outputs = [process.communicate(timeout=240)[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks, "\n".join(outputs)


@pytest.mark.parametrize("name", ["narrow_adamw", "timeouts"])
def test_two_ranks(name):
    run_ranks(name)


def test_two_ranks_look_at_their_means_and_go_on_with_their_weights(data, tiny, tmp_path):
    run_ranks("measured_means", data, tiny, tmp_path)
