"""What the driver hears of its workers: counts and names, never pixels."""

import pickle

from fake_run import prepared, run_step
from shards.slices import MakeSlice
from shards.storage import Storage
from shards.worker import Worker

PIXELS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
MOST_BYTES = 4_000  # of one task's result


class Overheard:
    """An engine whose every result is written down on its way to the driver."""

    def __init__(self, engine):
        self._engine = engine
        self.heard = []

    def has_room(self, at_once=1):
        return self._engine.has_room(at_once)

    def submit(self, task):
        self.heard.append(pickle.dumps(task))
        self._engine.submit(task)

    def wait(self, timeout_s):
        found = self._engine.wait(timeout_s)
        self.heard += [pickle.dumps(finished.result) for finished in found]
        return found


def test_no_pixels_pass_through_the_driver(disk, engine, make_config, monkeypatch):
    opened = []
    open_file = Storage.open

    def note_and_open(storage, name):
        opened.append(name)
        return open_file(storage, name)

    monkeypatch.setattr(Storage, "open", note_and_open)
    overheard = Overheard(engine)
    run_step(disk, make_config(count=24), overheard)
    assert len(overheard.heard) > 4
    assert all(len(said) < MOST_BYTES for said in overheard.heard)
    assert not [said for said in overheard.heard if any(magic in said for magic in PIXELS)]
    assert not [name for name in opened if name.endswith((".tar", ".arrow"))]


def test_what_a_worker_made_is_in_its_slice_before_the_slice_is_whole(disk, make_config, monkeypatch):
    """A slice of photographs would else be in memory whole."""
    config = make_config(count=8, side_px=700)
    storage, job = prepared(disk, config)
    sizes = []
    start_writing = Storage.start_writing
    monkeypatch.setattr(
        Storage, "start_writing", lambda *told: (sizes.append(told[1].stat().st_size), start_writing(*told))
    )
    receipt = MakeSlice(job=job, shard=0, start=0, stop=8)(Worker())
    assert receipt.made == 8
    assert sizes == sorted(set(sizes))
    assert len(sizes) > 3
    assert storage.size(f"work/slices/{receipt.name}.arrow") >= sizes[-1]
