"""The order of a recipe's steps."""

from hypothesis import given
from hypothesis import strategies as st

from recipes.steps import STEPS
from recipes.wiring import Wiring, in_order


@st.composite
def wirings(draw):
    """Steps that read some of those before them, written in any order."""
    count = draw(st.integers(0, 12))
    reads = {
        f"s{n}": tuple(f"s{m}" for m in draw(st.lists(st.integers(0, n - 1), max_size=3))) if n else ()
        for n in range(count)
    }
    names = draw(st.permutations(list(reads)))
    return {name: Wiring(STEPS["pack"], {"input": reads[name]}) for name in names}


@given(wirings())
def test_the_next_step_is_the_first_written_whose_inputs_came_before(wirings):
    left, before = list(wirings), []
    for name in in_order(wirings):
        assert name == next(n for n in left if set(wirings[n].reads) <= set(before))
        left.remove(name)
        before.append(name)
    assert not left
