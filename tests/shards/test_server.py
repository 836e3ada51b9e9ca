"""Server processes: waited for, published, and never left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from recipes.servers import ServerSettings
from shards.executor import EngineError
from shards.server import ServerProcess, ServerSpec, publish_url, published_urls
from shards.storage import Storage

FAKE = (sys.executable, "-m", "filters.fake_server", "--host", "{host}", "--port", "{port}")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(each) for each in file.read().split()]


def wait_for(claim, seconds=20):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_server_is_healthy_when_it_is_there_and_ends_with_its_owner():
    server = ServerProcess(ServerSpec(name="judge", command=FAKE, start_s=30), "127.0.0.1")
    (guard,) = children(server.process.pid)
    (child,) = children(guard)
    assert is_alive(child)
    server.close()
    wait_for(lambda: not is_alive(child))


def test_a_server_does_not_outlive_an_owner_that_is_killed(tmp_path):
    program = (
        "from shards.server import ServerProcess, ServerSpec\n"
        f"server = ServerProcess(ServerSpec(name='judge', command={FAKE!r}, start_s=30), '127.0.0.1')\n"
        "print(server.process.pid, flush=True)\n"
        "input()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    front = int(owner.stdout.readline())
    (guard,) = children(front)
    (child,) = children(guard)
    for pid in (owner.pid, front):  # Ray kills a worker's children with it
        os.kill(pid, signal.SIGKILL)
    owner.wait()
    owner.stdin.close()
    owner.stdout.close()
    wait_for(lambda: not is_alive(child) and not is_alive(guard))


def test_a_command_that_ends_is_an_error_that_shows_its_log():
    command = (sys.executable, "-c", "raise SystemExit('no such model')")
    with pytest.raises(EngineError, match=r"(?s)server judge: .* it ended with status 1.*no such model"):
        ServerProcess(ServerSpec(name="judge", command=command, start_s=30), "127.0.0.1")


def test_a_server_that_is_never_healthy_is_given_up():
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(EngineError, match=r"it was not healthy in 0.5 s"):
        ServerProcess(ServerSpec(name="judge", command=command, start_s=0.5), "127.0.0.1")


def test_addresses_are_published_by_replica(tmp_path):
    folder = Storage(str(tmp_path / "servers"))
    publish_url(folder, "judge", 0, "http://a:1")
    publish_url(folder, "judge", 1, "http://b:1")
    publish_url(folder, "judge", 0, "http://a:2")
    assert published_urls(folder, "judge") == ["http://a:2", "http://b:1"]


def test_servers_whose_names_begin_alike_are_told_apart(disk):
    publish_url(disk, "judge", 0, "http://one")
    publish_url(disk, "judge-large", 0, "http://other")
    assert published_urls(disk, "judge") == ["http://one"]
    assert published_urls(disk, "judge-large") == ["http://other"]


def test_an_argument_in_json_keeps_its_braces():
    settings = ServerSettings(
        command=(sys.executable, "-c", "import sys; print(sys.argv)", "{model}", "{host}"),
        args=("--limit-mm-per-prompt", '{"image": 5}'),
    )
    with pytest.raises(
        EngineError, match=r"""'m', '127\.0\.0\.1', '--limit-mm-per-prompt', '{"image": 5}'"""
    ):
        ServerProcess(settings.spec("judge", "m"), "127.0.0.1")
