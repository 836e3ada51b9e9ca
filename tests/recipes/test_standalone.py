"""`bakery select` on its own tells a rule that cannot be in one line, before it reads anything."""

import pytest

from recipes.schema import RecipeError
from recipes.standalone import select_directory
from shards.storage import Storage


@pytest.mark.parametrize(
    ("least", "said"),
    [
        (["consistency=9"], r"select: expected 0 to 4 for consistency, not 9: it would decide nothing$"),
        (["consistency"], r"--min: expected SCORE=NUMBER, got 'consistency'$"),
    ],
)
def test_a_rule_that_cannot_be_is_told_with_its_scale(tmp_path, least, said):
    with pytest.raises(RecipeError, match=said):
        select_directory([], Storage(str(tmp_path)), least, [], None, [], None)
    assert not list(tmp_path.iterdir())
