"""The vendored measurement of the checks is of what ships, and holds what the README says of it."""

import json
from pathlib import Path

import pytest

from datagen.multi_candidate import FAULTS
from filters.checks import ALL, CHECKS
from filters.embedded_checks import EmbeddedChecksConfig
from filters.multi_answers import FAULTS_OF
from filters.verified import TABLE

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def table():
    return json.loads(TABLE.read_text())


def test_it_is_of_the_very_verifier_that_ships(table):
    assert table["judge"] == json.loads(json.dumps(dict(EmbeddedChecksConfig().identity)))


def test_every_check_reaches_the_aim_on_enough_samples_of_every_fault(table):
    checks = {each["check"]: each for each in table["checks"]}
    assert list(checks) == [*CHECKS, ALL]
    assert set(table["faults"]) == set(FAULTS)
    for check, names in FAULTS_OF.items():
        assert checks[check]["n"] >= 350
        assert checks[check]["unread"] == 0
        assert checks[check]["recall_at_95"] >= 0.80, check
        for fault in names:
            found, n = checks[check]["found"][fault]
            assert n >= 15
            assert found / n >= 0.80, fault


def test_the_readme_shows_its_figures(table):
    text = README.read_text()
    for each in table["checks"]:
        line = next(line for line in text.splitlines() if line.startswith(f"| `{each['check']}`"))
        assert f"{each['precision']['value']:.2f}" in line
        assert f"{each['recall']['value']:.2f}" in line
