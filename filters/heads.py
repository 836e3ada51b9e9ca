"""From measurements to label probabilities: logistic heads whose weights are plain numbers in a JSON file.

An honest account of the labels: this is no vision-language model. `presence`, `identity`, `colour` and
`copy_paste` are logistic regressions on what was measured, fitted to rendered samples with known faults.
`consistency` and `instruction_following` are multinomial ones over grades 0 to 4, where the grade of a fault
is by definition (`CONSISTENCY_GRADES`, `INSTRUCTION_GRADES` in tools/fit_judge.py): clean is 4, and how grave
each fault is was decided by us after the paper's scale, not by people's votes. The probability of grade 4 is
thus the head's probability that the sample is clean, among samples of which 40% were. Grade 3 of consistency
is milder than any fault that was injected and is never answered.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filters.observations import Numbers, Observation

SEEN = ("presence", "identity", "colour")  # asked of each reference
GRADED = ("consistency", "instruction_following")
NO_SCENE = 6.0  # log-odds of a scene that nobody claimed
BOUND = 12.0


@dataclass(frozen=True)
class Head:
    """A linear map of named numbers: one row of weights a label, or one row for yes against no."""

    inputs: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]

    def scores(self, numbers: Numbers) -> list[float]:
        """One score a row, bounded."""
        values = [numbers[name] for name in self.inputs]
        return [
            max(-BOUND, min(BOUND, math.fsum([bias, *(w * v for w, v in zip(row, values, strict=True))])))
            for row, bias in zip(self.weights, self.bias, strict=True)
        ]

    def log_odds(self, numbers: Numbers) -> float:
        """Of yes, for a head of one row."""
        [score] = self.scores(numbers)
        return score


@dataclass(frozen=True)
class Heads:
    """All heads by name: `SEEN`, "scene", "copy_paste", `GRADED`."""

    by_name: Mapping[str, Head]

    def seen(self, observation: Observation, reference: int) -> dict[str, float]:
        """Probability of yes to each question about one reference; of a scene all three are one score."""
        return {name: sigmoid(odds) for name, odds in self._odds(observation, reference).items()}

    def copied(self, observation: Observation) -> float:
        """Probability that the target is a copy of a reference."""
        return sigmoid(self.by_name["copy_paste"].log_odds(observation.whole))

    def grades(self, observation: Observation) -> dict[str, list[float]]:
        """Probabilities of grades 0 to 4, for each of `GRADED`."""
        numbers = self.summarise(observation)
        return {name: softmax(self.by_name[name].scores(numbers)) for name in GRADED}

    def summarise(self, observation: Observation) -> dict[str, float]:
        """What the graded heads see: the worst reference of each question, all doubts together, the whole."""
        places = range(len(observation.references))
        odds = [self._odds(observation, n) for n in places if observation.references[n] is not None]
        scenes = [self._odds(observation, n)["presence"] for n in places if observation.references[n] is None]
        summary = {"worst_scene": min(scenes, default=NO_SCENE)}
        for name in SEEN:
            summary[f"worst_{name}"] = min((o[name] for o in odds), default=NO_SCENE)
            summary[f"doubt_{name}"] = math.fsum(math.log1p(math.exp(-o[name])) for o in odds)
        copied = self.by_name["copy_paste"].log_odds(observation.whole)
        return {**observation.whole, **summary, "copied": copied}

    def _odds(self, observation: Observation, reference: int) -> dict[str, float]:
        numbers = observation.references[reference]
        if numbers is not None:
            return {name: self.by_name[name].log_odds(numbers) for name in SEEN}
        scene = observation.scenes[reference]
        assert scene is not None
        return dict.fromkeys(SEEN, self.by_name["scene"].log_odds(scene))


def read_heads(text: str) -> Heads:
    """The heads of the JSON that `tools/fit_judge.py` writes."""
    content: Mapping[str, Mapping[str, Any]] = json.loads(text)["heads"]
    return Heads(
        {
            name: Head(
                inputs=tuple(head["inputs"]),
                weights=tuple(tuple(map(float, row)) for row in head["weights"]),
                bias=tuple(map(float, head["bias"])),
            )
            for name, head in content.items()
        }
    )


def sigmoid(log_odds: float) -> float:
    """Probability of bounded log-odds.

    >>> sigmoid(0.0)
    0.5
    """
    return 1 / (1 + math.exp(-log_odds))


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares of scores; sums to 1.

    >>> softmax([0.0, 0.0])
    [0.5, 0.5]
    """
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / math.fsum(powers) for power in powers]
