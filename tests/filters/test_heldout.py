"""The vendored measurement of the embedded judge is of the weights that ship, and holds what is promised."""

from filters.embedded import EmbeddedEngineConfig
from filters.heldout import measured
from shards.manifest import Manifest

FAULTS = (
    "wrong_subject",
    "colour_variant",
    "missing_subject",
    "extra_subject",
    "swapped_order",
    "copy_paste",
)


def judged_by(judge):
    settings = {"judge": judge}
    return Manifest(name="judged", type="judge", hash="0" * 64, kind="scores", config={"settings": settings})


def test_it_is_of_the_weights_that_ship():
    assert measured([judged_by(dict(EmbeddedEngineConfig().identity))]) is not None


def test_a_set_of_another_judge_is_not_told_of_it():
    assert measured([judged_by({"model": "another"})]) is None
    assert measured([]) is None


def test_it_reaches_what_is_promised_on_enough_samples():
    found = measured([judged_by(dict(EmbeddedEngineConfig().identity))])
    areas = {area.name: area for area in found.areas}
    assert areas["consistency: all faults"].interval.value >= 0.95
    for fault in FAULTS:
        area = areas[f"consistency: {fault}"]
        assert area.interval.value >= 0.90, fault
        assert area.clean >= 300
        assert area.faulty >= 100
    shuffled = areas["control: shuffled labels"].interval
    assert shuffled.low < 0.5 < shuffled.high
