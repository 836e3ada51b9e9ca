"""Runs a command that must not outlive its owner: `python -m shards.guard COMMAND...`.

The owner holds its stdin. When that ends, because the owner closed it or died in whatever way, the command
and all it started are ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

GRACE_S = 10.0


def main(command: list[str]) -> int:
    """Run the command; return its exit status.

    A child does the guarding: Ray kills the children of a worker that ends, but not theirs, so the guard
    itself must not be one, or nobody would be left to end the command.
    """
    if guard := os.fork():
        _, status = os.waitpid(guard, 0)
        return os.waitstatus_to_exitcode(status)
    os.setsid()
    os._exit(_guard(command) & 0xFF)


def _guard(command: list[str]) -> int:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    threading.Thread(target=_end_with_stdin, args=(process,), daemon=True).start()
    status = process.wait()
    _signal(process, signal.SIGKILL)  # what it started and left behind
    return status


def _end_with_stdin(process: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        continue
    _signal(process, signal.SIGTERM)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
