"""Kills a run at a chosen point, and tells what it had done by then and what lives on."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from fake_stage import read_log
from shards.plan import read_plan
from shards.storage import Storage

TAG = "BAKERY_KILL_TEST"


@dataclass(frozen=True)
class Aftermath:
    """What a kill left.

    Attributes:
        is_inside_slice: the victim had samples in hand.
        has_ended: the run was over before the kill.
        committed: keys of all slices that were committed, assembled ones included.
        shards: inode and time of change of each finished shard's files.
        log_lines: samples made so far.
    """

    is_inside_slice: bool
    has_ended: bool
    committed: frozenset
    shards: dict
    log_lines: int


class Victim:
    """A run as a process of its own; all that it starts is known by a tag in the environment."""

    def __init__(self, folder, request):
        self.out, self.log, self.request = Path(request["out"]), request["config"]["log"], request
        self.tag = uuid.uuid4().hex
        order = folder / f"{self.tag}.json"
        order.write_text(json.dumps(request))
        self.errors = folder / f"{self.tag}.err"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(Path(__file__).with_name("fake_run.py")), str(order)],
                env=os.environ | {TAG: self.tag},
                stdout=errors,
                stderr=errors,
            )

    # Who lives

    def living(self):
        """Processes of this run: (number, command line)."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if f"{TAG}={self.tag}".encode() in (entry / "environ").read_bytes():
                        found[int(entry.name)] = (
                            (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                        )
                except OSError:
                    continue
        return {pid: command for pid, command in found.items() if command}

    def worker(self):
        """A process that has made a sample and lives; None if there is none."""
        alive = self.living()
        return next((pid for _, pid, _ in reversed(read_log(self.log)) if pid in alive), None)

    def raylet(self):
        return next((pid for pid, command in self.living().items() if "/raylet/raylet" in command), None)

    # The kill

    def kill(self, who, lines, delay_s, timeout_s=60):
        """SIGKILL `who` once so many samples are in the log and then some time has gone by."""
        end = time.monotonic() + timeout_s
        while self.process.poll() is None and len(read_log(self.log)) < lines:
            assert time.monotonic() < end, self.errors.read_text()
            time.sleep(0.002)
        time.sleep(delay_s)
        pid = self.process.pid if who == "driver" else getattr(self, who)()
        marks = self._in_hand()
        if self.process.poll() is not None or pid is None:
            return self.aftermath(is_inside_slice=False, has_ended=True)
        if who == "worker":
            return self._kill_worker(pid, is_inside_slice=bool(marks))
        os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=60)
        self.wait_for_ends()
        return self.aftermath(is_inside_slice=bool(marks), has_ended=False)

    def _kill_worker(self, pid, **facts):
        """The driver stands still meanwhile, so that what is seen is what the kill left."""
        self.process.send_signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        after = self.aftermath(**facts, has_ended=False)
        self.process.send_signal(signal.SIGCONT)
        return after

    def wait_for_ends(self, timeout_s=90):
        """Nothing that the run started may outlive it; Ray takes some seconds to notice."""
        end = time.monotonic() + timeout_s
        while alive := self.living():
            assert time.monotonic() < end, f"left behind: {alive}"
            time.sleep(0.02)

    def finish(self, timeout_s=120):
        """Let the run come to its end."""
        code = self.process.wait(timeout=timeout_s)
        assert code == 0, self.errors.read_text()
        self.wait_for_ends()

    # What is there

    def steps(self):
        return [Storage(str(path)) for path in sorted(self.out.glob("*-*")) if path.is_dir()]

    def _in_hand(self):
        return [name for step in self.steps() for name in step.names("work/inflight")]

    def aftermath(self, **facts):
        shards, committed = {}, set()
        for step in self.steps():
            done = [name.removesuffix(".json") for name in step.names("work/done")]
            committed |= {(step.uri, key) for key in self._committed(step, done)}
            for name in done:
                for file in (f"shards/{name}.tar", f"index/{name}.parquet"):
                    path = Path(step.path(file))
                    if path.exists():
                        stat = path.stat()
                        shards[str(path)] = (stat.st_ino, stat.st_mtime_ns)
        return Aftermath(
            committed=frozenset(committed), shards=shards, log_lines=len(read_log(self.log)), **facts
        )

    @staticmethod
    def _committed(step, done):
        for name in done:
            yield from (row.key for row in read_plan(step, int(name), 0, 1 << 31))
        for name in step.names("work/slices"):
            shard, start, stop, _ = name.split("-")
            yield from (row.key for row in read_plan(step, int(shard), int(start), int(stop)))
