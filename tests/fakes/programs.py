"""Programs that a test starts, watches and kills."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 500  # of one that ends by itself; less than the limit of a test


class Program:
    """A program in a session of its own, which does not outlive its block, however the block ends.

    `arguments` are Python's. It runs in the repository's root, with this environment and `env`, unless told
    otherwise; what it says goes to a file, for a pipe that nobody reads would hold it up.
    """

    def __init__(self, *arguments, cwd=ROOT, env=None):
        shared = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by the block
        self._process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=shared | {"PYTHONPATH": str(ROOT)} | (env or {}),
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.kill()
        self._said.close()

    def said(self):
        """What it has said so far, on either stream."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def is_running(self):
        return self._process.poll() is None

    def status(self):
        """Its exit status, once it has ended by itself."""
        try:
            return self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended in {LIMIT_S} s; it said:\n{self.said()}") from None

    def kill(self):
        """Kill it and what is left of its session; whether it was running."""
        running = self.is_running()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        return running
