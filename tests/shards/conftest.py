"""Where the data plane is tried: a folder, and the same on an S3 server; a local engine and Ray."""

import os
import socket
import subprocess
import sys
import time
import uuid
from contextlib import closing

import pytest
from pyarrow import fs

from shards.storage import Storage

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session", autouse=True)
def credentials():
    """In the environment from the start: workers of both engines inherit it."""
    os.environ.update(CREDENTIALS)


@pytest.fixture(scope="session")
def s3_server(credentials, tmp_path_factory):
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
