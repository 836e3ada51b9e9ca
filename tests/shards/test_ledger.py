"""The ledger: what was paid for is there for every reader, whatever crashed or was merged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.ledger import Ledger, LedgerError, missing, request_hash
from shards.storage import Storage

hashes = st.integers(0, 30).map(lambda number: request_hash(b"%d" % number))
replies = st.binary(max_size=40)


def test_what_is_committed_is_there_for_every_reader(storage):
    ledger = Ledger(storage)
    paid = {request_hash(b"%d" % n): b"reply %d" % n * n for n in range(50)}
    ledger.commit(paid)
    for reader in (ledger, Ledger(storage)):
        assert all(reader.get(request) == reply for request, reply in paid.items())
        assert reader.get(request_hash(b"never asked")) is None
        assert len(reader) == 50


def test_a_reader_sees_another_writers_replies_after_a_refresh(storage):
    reader, writer = Ledger(storage), Ledger(storage)
    assert reader.get(request_hash(b"a")) is None
    writer.commit({request_hash(b"a"): b"1"})
    assert reader.get(request_hash(b"a")) is None
    reader.refresh()
    assert reader.get(request_hash(b"a")) == b"1"


def test_two_writers_lose_nothing_of_each_other(storage):
    one, two = Ledger(storage), Ledger(storage)
    assert (one.get(request_hash(b"x")), two.get(request_hash(b"x"))) == (None, None)
    for number in range(5):
        one.commit({request_hash(b"one %d" % number): b"1"})
        two.commit({request_hash(b"two %d" % number): b"2"})
    assert len(Ledger(storage)) == 10


def test_the_same_replies_are_one_segment(storage):
    paid = {request_hash(b"a"): b"1", request_hash(b"b"): b"2"}
    Ledger(storage).commit(paid)
    Ledger(storage).commit(dict(reversed(paid.items())))
    assert len([name for name in storage.names() if name.endswith(".arrow")]) == 1


def test_of_two_replies_to_one_request_every_reader_sees_the_same(storage):
    request = request_hash(b"a")
    writers = [Ledger(storage) for _ in range(4)]
    assert all(writer.get(request) is None for writer in writers)
    for number, writer in enumerate(writers):
        writer.commit({request: b"%d" % number})
    for writer in writers:
        writer.refresh()
    expected = Ledger(storage).get(request)
    assert {writer.get(request) for writer in writers} == {expected}
    for number, writer in enumerate(writers):  # and without a refresh, after one more commit
        writer.commit({request_hash(b"b%d" % number): b""})
        assert writer.get(request) == expected
    Ledger(storage).compact(minimum=2)
    assert Ledger(storage).get(request) == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.dictionaries(hashes, replies, max_size=5), st.booleans()), max_size=8
    )
)
def test_any_order_of_commits_refreshes_and_merges_keeps_every_reply(tmp_path_factory, steps):
    storage = Storage(str(tmp_path_factory.mktemp("ledger")))
    ledgers = [Ledger(storage) for _ in range(3)]
    paid = {}
    for number, batch, merges in steps:
        ledger = ledgers[number]
        ledger.refresh()
        batch = {request: reply for request, reply in batch.items() if ledger.get(request) is None}
        ledger.commit(batch)
        paid |= batch
        if merges:
            ledger.compact(minimum=2)
            for each in ledgers:
                each.refresh()
    found = Ledger(storage)
    assert {request: found.get(request) for request in paid} == paid
    assert len(found) == len(paid)


def test_merging_keeps_everything_and_leaves_one_segment(storage):
    ledger = Ledger(storage)
    for number in range(70):
        ledger.commit({request_hash(b"%d" % number): b"%d" % number})
    assert ledger.compact(minimum=2) > 1
    assert ledger.compact(minimum=2) == 0
    assert len([name for name in storage.names() if name.endswith(".arrow")]) == 1
    assert all(Ledger(storage).get(request_hash(b"%d" % n)) == b"%d" % n for n in (0, 33, 69))


def test_a_writer_keeps_its_own_segments_few(disk):
    ledger, reader = Ledger(disk), Ledger(disk)
    for number in range(600):
        ledger.commit({request_hash(b"%d" % number): b"%d" % number})
        if number % 50 == 0:
            reader.refresh()
            assert len(reader) == number + 1
    assert len([name for name in disk.names() if name.endswith(".arrow")]) <= 24
    assert all(Ledger(disk).get(request_hash(b"%d" % n)) == b"%d" % n for n in (0, 301, 599))


def test_which_of_two_replies_counts_does_not_change_when_segments_are_merged(disk):
    request = request_hash(b"a")
    one, two = Ledger(disk), Ledger(disk)
    assert one.get(request) is two.get(request) is None
    one.commit({request: b"1"})
    two.commit({request: b"2"})
    expected = Ledger(disk).get(request)
    for number in range(20):
        one.commit({request_hash(b"%d" % number): b""})
        assert Ledger(disk).get(request) == expected
        two.commit({request_hash(b"other %d" % number): b""})
        assert Ledger(disk).get(request) == expected


def test_a_merge_that_was_killed_before_it_deleted_costs_nothing(storage):
    for number in range(5):
        Ledger(storage).commit({request_hash(b"%d" % number): b"%d" % number})
    old = {name: storage.read(name) for name in storage.names() if name.endswith(".arrow")}
    Ledger(storage).compact(minimum=2)
    for name, data in list(old.items())[1:]:
        storage.write(name, data)
    ledger = Ledger(storage)
    assert all(ledger.get(request_hash(b"%d" % n)) == b"%d" % n for n in range(5))
    assert ledger.compact(minimum=2) == 5
    assert len(Ledger(storage)) == 5


@pytest.mark.parametrize("cut", [0, 8, 200, -1])
def test_a_segment_that_was_cut_off_is_named_with_the_way_out(storage, cut):
    Ledger(storage).commit({request_hash(b"a"): b"1"})
    [name] = [name for name in storage.names() if name.endswith(".arrow")]
    storage.write(name, storage.read(name)[:cut])
    with pytest.raises(LedgerError, match="delete the file"):
        Ledger(storage).get(request_hash(b"a"))


def test_a_changed_reply_is_noticed(storage):
    Ledger(storage).commit({request_hash(b"a"): b"the reply that was paid for"})
    [name] = [name for name in storage.names() if name.endswith(".arrow")]
    storage.write(name, storage.read(name).replace(b"paid for", b"made up."))
    with pytest.raises(LedgerError, match="expected the reply that was committed"):
        Ledger(storage).get(request_hash(b"a"))


def test_hashes_that_begin_alike_are_told_apart(storage):
    requests = [b"\0" * 8 + bytes([n]) * 24 for n in range(5)]
    Ledger(storage).commit({request: request[-1:] for request in requests})
    assert [Ledger(storage).get(request) for request in requests] == [bytes([n]) for n in range(5)]
    assert Ledger(storage).get(b"\0" * 32 + b"") == b"\0"
    assert Ledger(storage).get(b"\0" * 8 + b"\7" * 24) is None


def test_nothing_is_committed_for_nothing(storage):
    Ledger(storage).commit({})
    assert [name for name in storage.names() if not name.startswith(".")] == []


def test_what_is_missing_is_listed_once_and_in_order(storage):
    a, b, c = (request_hash(name) for name in (b"a", b"b", b"c"))
    ledger = Ledger(storage)
    ledger.commit({b: b"paid"})
    assert missing(ledger, [c, a, b, c, a]) == [c, a]


def test_a_large_reply_comes_back(storage):
    reply = json.dumps(["x" * 1000] * 3000).encode()
    Ledger(storage).commit({request_hash(b"a"): reply})
    assert Ledger(storage).get(request_hash(b"a")) == reply


def test_large_replies_are_merged_no_further_than_a_full_segment(storage, monkeypatch):
    monkeypatch.setattr("shards.ledger.FULL_BYTES", 40_000)
    ledger = Ledger(storage)
    for number in range(12):
        ledger.commit({request_hash(b"%d" % number): b"%d" % number * 10_000})
    assert len(segment_bytes(storage)) == 12
    assert ledger.compact(minimum=2) > 1
    sizes = segment_bytes(storage)
    assert 1 < len(sizes) < 12
    assert max(sizes) < 50_000
    assert all(Ledger(storage).get(request_hash(b"%d" % n)) == b"%d" % n * 10_000 for n in range(12))


def segment_bytes(storage):
    return [len(storage.read(name)) for name in storage.names() if name.endswith(".arrow")]


def test_pictures_in_an_object_store_are_fetched_when_asked_for_and_not_held(storage):
    """A ledger of a hundred thousand pictures fits in no worker's memory."""
    paid = {request_hash(b"%d" % number): b"%d" % number * 400_000 for number in range(10, 22)}
    Ledger(storage).commit(paid)
    reader = Ledger(storage)
    assert {request: reader.get(request) for request in paid} == paid
    [segment] = reader._segments.values()
    assert (segment.replies is None) == (not storage.is_local)
    assert segment.heads["request"].num_chunks > 3
    writer = Ledger(storage)
    writer.commit({request_hash(b"one more"): b"x" * 100_000})
    assert writer.compact(minimum=2) == 2
    assert {request: reader.get(request) for request in paid} == paid, "though the segment went meanwhile"


def test_a_writer_whose_segments_another_merged_goes_on(storage):
    writer = Ledger(storage)
    for number in range(7):
        writer.commit({request_hash(b"%d" % number): b"1"})
    Ledger(storage).compact(minimum=2)
    writer.refresh()
    for number in range(7, 20):
        writer.commit({request_hash(b"%d" % number): b"1"})
    assert len(Ledger(storage)) == 20
