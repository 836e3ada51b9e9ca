"""Shares: exact, and stable when a plan grows."""

from collections import Counter
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from datagen.quotas import share_out

SHARES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 16), max_size=6).map(
    lambda parts: {name: part / 100 for name, part in parts.items()}
)


@given(SHARES, st.integers(1, 500))
def test_any_beginning_holds_each_share_to_within_one(shares, number):
    counts = Counter(islice(share_out(shares, rest="-"), number))
    assert all(abs(counts[name] - share * number) < 1 + 1e-9 for name, share in shares.items())


@given(SHARES)
def test_counts_are_exact_where_they_are_whole(shares):
    counts = Counter(islice(share_out(shares, rest="-"), 400))
    assert all(counts[name] == round(share * 400) for name, share in shares.items())


def test_shares_of_one_together_leave_no_rest():
    assert set(islice(share_out({"a": 0.7, "b": 0.3}, rest="-"), 100)) == {"a", "b"}
