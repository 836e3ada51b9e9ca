"""The lease: one run at a time, taken over from the dead at once and from the silent after a while."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from shards import lease as lease_module
from shards.lease import FILE, Lease, LeaseError, born, read_owner
from shards.storage import EVEN_BYTES


def write_owner(storage, **changes):
    owner = {
        "token": "other",
        "host": "elsewhere",
        "pid": 1,
        "born": "1",
        "beat_s": time.time(),
    }
    storage.write(FILE, json.dumps(owner | changes).encode())


def test_a_second_run_is_told_who_has_it(storage):
    with (
        Lease(storage),
        pytest.raises(LeaseError, match=f"process {os.getpid()} on ") as found,
        Lease(storage),
    ):
        pass
    assert "wait for it or stop it" in str(found.value)


def test_a_lease_is_free_once_it_is_given_back(storage):
    with Lease(storage) as lease:
        lease.check()
    assert not storage.exists(FILE)
    with Lease(storage):
        pass


def test_of_many_that_come_at_once_one_gets_it(disk):
    gate, got, refused = threading.Barrier(8), [], []
    done = threading.Event()

    def come():
        gate.wait()
        try:
            with Lease(disk):
                got.append(1)
                done.wait(10)
        except LeaseError:
            refused.append(1)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 10
    while len(got) + len(refused) < 8 and time.monotonic() < end:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


def test_a_dead_owner_on_this_machine_is_replaced_at_once(storage):
    script = (
        "import os, sys; from shards.lease import Lease; from shards.storage import Storage\n"
        "Lease(Storage(sys.argv[1])).__enter__(); os._exit(9)"
    )
    ended = subprocess.run([sys.executable, "-c", script, storage.uri], check=False)
    assert ended.returncode == 9
    assert storage.exists(FILE)
    began = time.monotonic()
    with Lease(storage):
        assert time.monotonic() - began < 2


def test_a_process_that_got_a_dead_ones_number_is_not_its_owner(storage):
    write_owner(storage, host=socket.gethostname(), pid=os.getpid(), born="1")
    with Lease(storage):
        pass


def test_an_owner_elsewhere_is_believed_until_its_heartbeat_is_stale(storage):
    write_owner(storage, beat_s=time.time() - 10)
    with pytest.raises(LeaseError, match="process 1 on elsewhere, last seen 10 s ago"), Lease(storage):
        pass
    with Lease(storage, stale_s=5):
        pass


def test_the_heartbeat_keeps_a_lease(storage):
    with Lease(storage, heartbeat_s=0.1, stale_s=1):
        first = read_owner(storage)
        time.sleep(1.5)
        assert read_owner(storage).beat_s > first.beat_s
        with pytest.raises(LeaseError), Lease(storage, stale_s=1):
            pass


def test_a_run_whose_lease_was_taken_stops_and_leaves_the_new_one_alone(storage):
    with Lease(storage) as lease:
        write_owner(storage)
        with pytest.raises(LeaseError, match=r"got process 1 on elsewhere .*this run stops"):
            lease.check()
    assert read_owner(storage).token == "other"


def test_a_run_that_never_looked_does_not_give_back_what_is_anothers(storage):
    with Lease(storage):
        write_owner(storage)
    assert read_owner(storage).token == "other"


def test_the_heartbeat_of_a_run_whose_lease_was_taken_leaves_the_new_one_alone(disk):
    with Lease(disk, heartbeat_s=0.02) as lease:
        lease.check_heard()
        for _ in range(50):  # a heartbeat that had looked before writes once more
            write_owner(disk)
            lease._thread.join(0.1)
            if not lease._thread.is_alive():
                break
        assert read_owner(disk).token == "other"
        with pytest.raises(LeaseError, match="process 1 on elsewhere"):
            lease.check_heard()
        disk.delete(FILE)
        with pytest.raises(LeaseError, match="got nobody as its owner"):
            lease.check_heard()


def test_a_heartbeat_that_fails_for_a_moment_loses_nothing(disk):
    """A file where the folder for scratch files should be: writes fail until it is gone."""
    with Lease(disk, heartbeat_s=0.05) as lease:
        scratch = Path(disk.path(".tmp"))
        while True:
            try:
                scratch.rmdir()
                scratch.write_text("in the way")
                break
            except OSError:
                time.sleep(0.01)
        time.sleep(0.4)
        before = read_owner(disk).beat_s
        scratch.unlink()
        time.sleep(0.4)
        lease.check()
        assert read_owner(disk).beat_s > before


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"token": 1}', b"\xff"])
def test_a_file_that_is_no_lease_is_nobodys(storage, text):
    storage.write(FILE, text)
    with Lease(storage) as lease:
        lease.check()


def test_a_process_is_told_from_a_later_one_by_its_birth():
    assert born(os.getpid()) == born(os.getpid()) != born(1)
    assert born(1 << 30) == ""


def test_a_dead_process_that_nobody_has_asked_for_is_no_owner(storage):
    process = subprocess.Popen(["sleep", "60"])
    try:
        write_owner(storage, host=socket.gethostname(), pid=process.pid, born=born(process.pid))
        with pytest.raises(LeaseError), Lease(storage):
            pass
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
        with Lease(storage):
            assert read_owner(storage).pid == os.getpid()
    finally:
        process.kill()
        process.wait()
    assert lease_module.STALE_S > 3 * lease_module.HEARTBEAT_S


def test_a_lease_leaves_nothing_behind(disk):
    with Lease(disk, heartbeat_s=0.01):
        time.sleep(0.1)
    assert disk.names() == []


def test_a_heartbeat_never_changes_the_size_so_that_who_reads_meanwhile_gets_all_of_it(storage, monkeypatch):
    with Lease(storage) as lease:
        for beat_s in (1.5, 1795675185.1234567):
            monkeypatch.setattr("shards.lease.time.time", lambda beat_s=beat_s: beat_s)
            lease._write()
            assert storage.size("lease.json") == EVEN_BYTES
            assert read_owner(storage).beat_s == beat_s
        monkeypatch.undo()
