"""Whether servers answer enough of what a step asks for it to end well."""

from __future__ import annotations

from collections.abc import Mapping

ENOUGH_TO_TELL = 20  # without an answer before a step is stopped halfway


class UnansweredError(RuntimeError):
    """More pictures or texts got no answer than the step tolerates."""


def check_answered(step: str, counts: Mapping[str, float], planned: int, tolerated: float) -> None:
    """Stop a step early that cannot end well.

    Raises:
        UnansweredError: more got no answer than are tolerated, as a share of the planned samples.
    """
    if lacks_answers(counts, planned, tolerated):
        causes = _causes(counts)
        told = ", ".join(f"{count} {name}" for name, count in sorted(causes.items()))
        raise UnansweredError(
            f"{step}: expected at most {tolerated:.1%} of {planned} samples to lack "
            f"an answer, got {sum(causes.values())} ({told}); see to the servers and run again: what came is "
            "kept, and what did not is asked again; or raise tolerate_unanswered"
        )


def lacks_answers(counts: Mapping[str, float], planned: int, tolerated: float) -> bool:
    """Whether more got no answer than are tolerated, and enough to tell."""
    unanswered = sum(_causes(counts).values())
    return unanswered >= ENOUGH_TO_TELL and unanswered > tolerated * planned


def _causes(counts: Mapping[str, float]) -> dict[str, int]:
    return {name: int(count) for name, count in counts.items() if name.startswith("error: ")}
