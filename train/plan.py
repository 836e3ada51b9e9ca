"""Which samples train together at which step: a pure function of sizes, seed, epoch and budget.

Nothing is dropped, and no state is kept: step `s` is the same on any number of ranks and after any restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from shards.stage import keyed_random
from train.config import ConfigError
from train.segments import Mode, SampleTokens, segments

BALANCE_STEPS = 8  # steps whose packs are sorted by cost together


@dataclass(frozen=True, kw_only=True)
class SampleSize:
    """What a plan knows of a sample.

    Attributes:
        tokens: rows it takes, nothing dropped out.
        pairs: visible (query, key) pairs, what its attention costs.
        targets: target tokens, what its loss counts.
    """

    key: str
    tokens: int
    pairs: int
    targets: int


def sample_size(sample: SampleTokens) -> SampleSize:
    """The size of a sample in tokens."""
    tokens = pairs = seen = targets = 0
    for segment in segments(sample):
        length = segment.length
        own = length * (length + 1) // 2 if segment.mode == Mode.CAUSAL else length * length
        pairs += own + length * seen
        tokens += length
        if segment.mode == Mode.NOISE:
            targets += length - 2
        else:
            seen += length
    return SampleSize(key=sample.key, tokens=tokens, pairs=pairs, targets=targets)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Samples (numbers in the plan's list) that one forward pass takes together."""

    samples: tuple[int, ...]
    tokens: int
    pairs: int
    targets: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimizer step: its packs, in order; rank `r` of `W` takes `packs[r::W]`."""

    number: int
    epoch: int
    packs: tuple[Pack, ...]

    @property
    def targets(self) -> int:
        """Target tokens of the whole step: what the loss is divided by, on every rank."""
        return sum(pack.targets for pack in self.packs)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All steps of a training run.

    Attributes:
        sizes: of every sample that may be drawn.
        seed: of the order.
        budget: tokens of a pack.
        packs_per_step: of an optimizer step, over all ranks.
        window: samples that a pack is chosen from.
        token_cost: what a token costs beside its attention, in visible pairs (about the parameters of a layer
            over 2 * hidden: 32,500 for BAGEL-7B).
    """

    sizes: Sequence[SampleSize] = field(repr=False)
    seed: int
    budget: int
    packs_per_step: int
    window: int = 64
    token_cost: int = 32_500

    def problems(self) -> list[str]:
        """What cannot be planned."""
        found = [
            f"plan.{name}: expected at least 1, got {getattr(self, name)!r}"
            for name in ("budget", "packs_per_step", "window")
            if getattr(self, name) < 1
        ]
        if not self.sizes:
            return [*found, "plan: expected samples, got none; check the selection that training reads"]
        largest = max(self.sizes, key=lambda size: size.tokens)
        if largest.tokens > self.budget:
            over = sum(size.tokens > self.budget for size in self.sizes)
            found.append(
                f"plan.budget: expected the largest sample's {largest.tokens} tokens or more ({largest.key}; "
                f"{over} are larger), got {self.budget!r}; raise it or lower vae_resize.max_px"
            )
        return found

    def check(self) -> Plan:
        """Return self.

        Raises:
            ConfigError: with every problem, one a line.
        """
        found = self.problems()
        if found:
            raise ConfigError("\n".join(found))
        return self

    def cost(self, pack: Pack) -> int:
        """What a pack takes to train, in arbitrary units."""
        return pack.pairs + self.token_cost * pack.tokens

    def dearest(self) -> Pack:
        """The dearest pack of the first epoch: what runs out of memory, if anything does."""
        return max(epoch_packs(self, 0), key=self.cost)

    def fill(self) -> float:
        """Share of the first epoch's budget that holds tokens."""
        packs = epoch_packs(self, 0)
        return sum(pack.tokens for pack in packs) / (len(packs) * self.budget)

    def steps(self, first: int = 0) -> Iterator[Step]:
        """Steps from `first` on, without end. Epochs follow each other without a gap: the last packs of one
        and the first of the next may share a step.
        """
        epoch, before = self._epoch_of(first * self.packs_per_step)
        number, skip = first, first * self.packs_per_step - before
        waiting: list[Pack] = []
        while True:
            for pack in balanced_packs(self, epoch, before)[skip:]:
                waiting.append(pack)
                if len(waiting) == self.packs_per_step:
                    yield Step(number=number, epoch=epoch, packs=tuple(waiting))
                    number, waiting = number + 1, []
            before, epoch, skip = before + len(epoch_packs(self, epoch)), epoch + 1, 0

    def _epoch_of(self, place: int) -> tuple[int, int]:
        epoch = before = 0
        while before + len(epoch_packs(self, epoch)) <= place:
            before += len(epoch_packs(self, epoch))
            epoch += 1
        return epoch, before

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@lru_cache(maxsize=4)
def epoch_packs(plan: Plan, epoch: int) -> list[Pack]:
    """Every sample of the plan once, in packs, in the order they are filled."""
    order = list(range(len(plan.sizes)))
    keyed_random(plan.seed, "epoch", epoch).shuffle(order)
    packs, waiting, following = [], order[: plan.window], plan.window
    while waiting:
        chosen = best_fit([plan.sizes[number].tokens for number in waiting], plan.budget)
        packs.append(_pack(plan, [waiting[place] for place in chosen]))
        taken = set(chosen)
        waiting = [number for place, number in enumerate(waiting) if place not in taken]
        waiting += order[following : following + len(chosen)]
        following += len(chosen)
    return packs


def best_fit(tokens: Sequence[int], budget: int) -> list[int]:
    """Places of the samples that fill a budget best among all choices with the first (oldest) one.

    >>> best_fit([5, 4, 3, 2], 10)
    [0, 2, 3]
    """
    # A set of reachable sums as the bits of one integer: 64 shifts decide over all 2**63 choices.
    room = budget - tokens[0]
    within = (1 << (room + 1)) - 1
    reach = [1]
    for size in tokens[1:]:
        reach.append(reach[-1] | (reach[-1] << size & within))
    left, chosen = reach[-1].bit_length() - 1, []
    for place in range(len(tokens) - 1, 0, -1):
        if not reach[place - 1] >> left & 1:  # not reachable by older ones alone
            chosen.append(place)
            left -= tokens[place]
    return [0, *reversed(chosen)]


def _pack(plan: Plan, samples: Sequence[int]) -> Pack:
    sizes = [plan.sizes[number] for number in samples]
    return Pack(
        samples=tuple(samples),
        tokens=sum(size.tokens for size in sizes),
        pairs=sum(size.pairs for size in sizes),
        targets=sum(size.targets for size in sizes),
    )


@lru_cache(maxsize=4)
def balanced_packs(plan: Plan, epoch: int, before: int) -> list[Pack]:
    """An epoch's packs, those of a step of like cost, steps in random order.

    Args:
        before: packs of all epochs before, so that groups end where steps do.
    """
    packs = epoch_packs(plan, epoch)
    group = plan.packs_per_step
    head = -before % group  # complete the step that the epoch before began
    found = packs[:head]
    whole = (len(packs) - head) // group * group if len(packs) > head else 0
    random = keyed_random(plan.seed, "steps", epoch)
    for start in range(head, head + whole, group * BALANCE_STEPS):
        near = sorted(packs[start : min(start + group * BALANCE_STEPS, head + whole)], key=plan.cost)
        steps = [near[first : first + group] for first in range(0, len(near), group)]
        random.shuffle(steps)
        found = found + [pack for step in steps for pack in step]
    return found + packs[head + whole :]
