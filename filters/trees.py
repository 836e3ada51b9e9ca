"""Boosted trees as plain numbers: read from JSON, no pickle, the same result on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """A sum of decision trees, [T, nodes] each; a leaf points at itself.

    Attributes:
        features: names of the inputs, in order.
        feature: input looked at by each node.
        threshold: at most this goes left.
        left: next node.
        right: next node.
        value: what a leaf adds.
        depth: steps from root to the deepest leaf.
        start: what the sum starts from.
    """

    features: tuple[str, ...]
    feature: NDArray[np.int32]
    threshold: Array
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Array
    depth: int
    start: float

    def log_odds(self, inputs: Mapping[str, float]) -> float:
        """The sum for one set of inputs."""
        values = np.array([inputs[name] for name in self.features])
        trees = np.arange(len(self.value))
        node = np.zeros(len(self.value), dtype=np.int32)
        for _ in range(self.depth):
            goes_left = values[self.feature[trees, node]] <= self.threshold[trees, node]
            node = np.where(goes_left, self.left[trees, node], self.right[trees, node])
        return self.start + float(self.value[trees, node].sum())


def read_trees(content: Mapping[str, Any]) -> Trees:
    """Trees of the JSON that `tools/fit_judge.py` writes."""
    return Trees(
        features=tuple(content["features"]),
        feature=np.array(content["feature"], dtype=np.int32),
        threshold=np.array(content["threshold"], dtype=np.float64),
        left=np.array(content["left"], dtype=np.int32),
        right=np.array(content["right"], dtype=np.int32),
        value=np.array(content["value"], dtype=np.float64),
        depth=int(content["depth"]),
        start=float(content["start"]),
    )


def sigmoid(log_odds: float) -> float:
    """Probability of log-odds, without overflow.

    >>> sigmoid(0.0)
    0.5
    """
    return float(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))


def softmax(scores: Sequence[float]) -> list[float]:
    """Shares of scores; sums to 1."""
    powers = np.exp(np.array(scores) - max(scores))
    return [float(power) for power in powers / powers.sum()]
