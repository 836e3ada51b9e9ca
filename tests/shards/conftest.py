"""Where the data plane is tried: a folder, and the same on an S3 server; a local engine and Ray."""

import itertools
import os
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from fake_run import start_engine
from fake_stage import FakeConfig
from shards.storage import Storage


@pytest.fixture(scope="session", autouse=True)
def environment(s3_credentials):
    """What workers of both engines inherit: credentials, and where the fake stage is."""
    os.environ["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)


@pytest.fixture(params=["disk", "s3"])
def storage(request, tmp_path):
    """An empty folder, on a disk and in an object store."""
    if request.param == "disk":
        return Storage(str(tmp_path / "out"))
    endpoint = request.getfixturevalue("s3_server")
    where = f"s3://bakery/{uuid.uuid4().hex}"
    return Storage(f"{where}?scheme=http&endpoint_override={endpoint}&region=us-east-1")


@pytest.fixture
def disk(tmp_path):
    """An empty folder on a disk."""
    return Storage(str(tmp_path / "out"))


class Watched:
    """An executor, and how many tasks it has in hand; one that raised stays among them."""

    def __init__(self, executor):
        self._executor = executor
        self.in_hand = 0
        self.has_room, self.close = executor.has_room, executor.close

    def submit(self, task):
        self.in_hand += 1
        self._executor.submit(task)

    def wait(self, timeout_s):
        found = self._executor.wait(timeout_s)
        self.in_hand -= len(found)
        return found


class Engines:
    """Executors of two workers each, started when first asked for, and anew after a test that broke off."""

    def __init__(self):
        self._running = {}

    def get(self, name):
        if name not in self._running:
            self._running[name] = Watched(start_engine(name, 2))
        return self._running[name]

    def drop_busy(self):
        for name, executor in list(self._running.items()):
            if executor.in_hand:
                self._running.pop(name).close()

    def close(self):
        for executor in self._running.values():
            executor.close()
        if "ray" in self._running:
            from shards.ray_executor import stop

            stop()


@pytest.fixture(scope="module")
def engines(environment):
    """Ended with the module: a later test's own Ray must not find this one, whose cores are taken."""
    with closing(Engines()) as engines:
        yield engines


@pytest.fixture
def local_engine(engines):
    """Two worker processes of this machine."""
    yield engines.get("local")
    engines.drop_busy()


@pytest.fixture
def ray_engine(engines):
    """Two actors of a Ray on this machine."""
    yield engines.get("ray")
    engines.drop_busy()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request):
    """Either engine, with two workers."""
    return request.getfixturevalue(f"{request.param}_engine")


_seeds = itertools.count(1)


@pytest.fixture
def make_config(tmp_path):
    """Settings of the fake stage, of a seed of their own: a worker keeps its stage for the same settings."""
    seed = next(_seeds)
    counters = tmp_path / "counters"
    counters.mkdir()

    def make(**changes):
        settings = {"seed": seed, "log": str(tmp_path / "log"), "counters": str(counters)}
        return FakeConfig(**(settings | changes))

    return make
