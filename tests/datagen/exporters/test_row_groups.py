"""Row groups: none is left over, and the loader that they are for is simulated."""

import pytest

from datagen.exporters.kept import ExportError
from datagen.exporters.row_groups import layout, rows_by_worker


def test_a_file_holds_about_as_many_rows_as_were_asked_for():
    assert [sum(file) for file in layout(100, 40, 1, 1).files] == [50, 50]
    assert [len(file) for file in layout(100, 30, 1, 3).files] == [10, 10, 10]
    (only,) = layout(25, 1000, 2, 1).files
    assert (len(only), sum(only), max(only) - min(only)) == (10, 25, 1)
    with pytest.raises(ExportError, match="expected at least 16 samples for 2 GPUs x 4 workers, got 15"):
        layout(15, 1000, 2, 4)
    assert sum(layout(16, 1000, 2, 4).groups) == 16


@pytest.mark.parametrize(("a_file", "used"), [(1, 0.0), (2, 0.55), (5, 0.87), (10, 0.98)])
def test_the_simulated_division_is_the_one_that_was_measured(a_file, used):
    groups = [1000 // a_file] * (22 * a_file)
    assert sum(rows_by_worker(groups, 8, 3)) / sum(groups) == pytest.approx(used, abs=0.01)


@pytest.mark.parametrize("rows", [240, 999, 21_728, 70_000])
def test_no_row_is_left_over_whatever_the_count(rows):
    groups = layout(rows, 1000, 8, 3).groups
    seen = rows_by_worker(groups, 8, 3)
    assert sum(seen) == rows
    assert min(seen) > 0
