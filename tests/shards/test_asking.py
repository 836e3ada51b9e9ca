"""Who asks what: each address has one owner at a time, whoever ends or lies."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from shards.asking import AskingAlone, AskingTable

ADDRESSES = st.sets(st.sampled_from([b"a", b"b", b"c", b"d"]))


@given(st.lists(st.tuples(st.sampled_from(["take", "let go", "forget"]), st.sampled_from("xyz"), ADDRESSES)))
def test_an_address_is_asked_by_one_at_a_time(steps):
    table, held = AskingTable(), {}
    for what, owner, addresses in steps:
        if what == "take":
            own = table.take_on(owner, addresses)
            assert own == {address for address in addresses if address not in held}
            held |= dict.fromkeys(own, owner)
        elif what == "let go":  # what another took on is not let go
            table.let_go(owner, addresses)
            held = {a: who for a, who in held.items() if not (a in addresses and who == owner)}
        else:
            table.forget(owner)
            held = {a: who for a, who in held.items() if who != owner}
    assert table.take_on("other", {b"a", b"b", b"c", b"d"}) == {b"a", b"b", b"c", b"d"} - set(held)


def test_threads_of_one_process_never_have_the_same():
    asking, taken = AskingAlone(), []
    begin = threading.Barrier(8)

    def take():
        begin.wait()
        taken.append(asking.take_on({b"%d" % number for number in range(200)}))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, taken)) == len(set().union(*taken)) == 200
