"""A server process: started on a free port, waited for until it is healthy, its address published."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from shards.executor import EngineError
from shards.storage import Storage

TAIL = 2000  # characters of its log that an error shows
POLL_S = 0.25


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """How to run one kind of server.

    Attributes:
        name: for messages and for the names of published addresses.
        command: program and arguments; {host} and {port} are filled in.
        environment: added to the node's.
        replicas: how many.
        cpus, gpus: of each.
        start_s: how long one may take to be healthy.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    cpus: float = 0
    gpus: float = 0
    start_s: float = 900


class ServerProcess:
    """One server, which ends with the process that owns it.

    Args:
        spec: how to run it.
        host: address to listen on.

    Raises:
        EngineError: it ended, or was not healthy in time; the end of its log is shown.
    """

    def __init__(self, spec: ServerSpec, host: str) -> None:
        self._spec = spec
        self.url = f"http://{host}:{_free_port(host)}"
        self.log = Path(tempfile.mkdtemp(prefix="bakery-server-")) / "log"
        port = self.url.rpartition(":")[2]  # not `format`: an argument may be JSON, with braces of its own
        words = [part.replace("{host}", host).replace("{port}", port) for part in spec.command]
        command = [sys.executable, "-m", "shards.guard", *words]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603, the recipe's own command
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=_environment(spec)
            )
        self._wait_until_healthy()

    def _wait_until_healthy(self) -> None:
        end = time.monotonic() + self._spec.start_s
        while not self._is_healthy():
            if self.process.poll() is not None:
                self.close()
                raise self._failed(f"it ended with status {self.process.returncode}")
            if time.monotonic() > end:
                self.close()
                raise self._failed(f"it was not healthy in {self._spec.start_s:g} s")
            time.sleep(POLL_S)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:  # noqa: S310, our own URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _failed(self, why: str) -> EngineError:
        tail = self.log.read_text(errors="replace")[-TAIL:].strip()
        command = " ".join(self._spec.command)
        return EngineError(
            f"server {self._spec.name}: expected `{command}` to serve, got: {why}; {self.log} ends:\n{tail}"
        )

    def close(self) -> None:
        """End it and all it started."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def publish_url(folder: Storage, name: str, number: int, url: str) -> None:
    """Say where a replica is; a restarted one takes the place of the one before."""
    folder.write_again(f"{name}-{number}.json", json.dumps({"url": url}).encode())


def published_urls(folder: Storage, name: str) -> list[str]:
    """Where the replicas of a server are."""
    found = [each for each in folder.names() if re.fullmatch(rf"{re.escape(name)}-\d+\.json", each)]
    return [json.loads(folder.read(each))["url"] for each in found]


def _environment(spec: ServerSpec) -> dict[str, str]:
    """The node's and the server's own; programs of this environment, `bakery` above all, are found last."""
    found = {**os.environ, **spec.environment}
    own = str(Path(sys.executable).parent)
    return found | {"PATH": os.pathsep.join([*filter(None, [found.get("PATH")]), own])}


def _free_port(host: str) -> int:
    with closing(socket.socket()) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
