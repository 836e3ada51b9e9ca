"""For all tests: Hypothesis with the same examples every time and no clock; an S3 server on this machine."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest
from hypothesis import settings
from pyarrow import fs

# The files that take longest, first: handed out last they keep one process busy while the others are done.
LONGEST = (
    "test_launch",
    "test_kill",
    "test_line",
    "test_ranks",
    "test_loop",
    "test_scone_recipes",
    "test_production",
    "test_deaths",
    "test_paid",
)


def pytest_collection_modifyitems(items):
    """Begin with the longest files; the rest stays as it is."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_credentials():
    """Those of moto's server, which takes any."""
    os.environ.update(CREDENTIALS)


@pytest.fixture(scope="session")
def s3_server(s3_credentials, tmp_path_factory):
    """Host and port of an S3 server of moto's, with a bucket named `bakery`."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        for _ in range(600):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        filesystem = fs.S3FileSystem(
            scheme="http", endpoint_override=f"127.0.0.1:{port}", allow_bucket_creation=True
        )
        filesystem.create_dir("bakery")
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
