"""Findings: all that a report shows of a lineage, read once and in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from filters.accounts import Account, accounts
from filters.benchmark_section import LOOKS, Benchmarked, benchmarked, evaluations
from filters.decisions import Decisions, decisions, short_hash
from filters.distributions import Histogram, Score, all_scores, histogram
from filters.evaluated import Evaluated
from filters.gallery import Card, Gallery, cards
from filters.heldout import Heldout, measured
from filters.lineage import Edge, Lineage
from filters.reasons import Reasons
from filters.remake import command, recipe_text
from filters.training import Trained, stages
from filters.truth import (
    CLEAN,
    INHERITED,
    OVERALL,
    Separation,
    Truths,
    Verdict,
    read_truths,
    separations,
    verdict,
)
from filters.verified import GRID, Verified, checks_alone, verified
from filters.watch import Watched, watch
from shards.driver_step import Input
from shards.index import Directory
from shards.tables import questions

# Cards on a page: at about 30 KB each it stays below 6 MB however many steps there are.
MAX_CARDS = 150
# Questions of the shipped rubric whose yes speaks of a fault.
ASK_FOR_A_FAULT = ("copy_paste",)


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A selection as the page shows it."""

    decided: Decisions
    histograms: list[Histogram]
    truths: Truths
    verdict: Verdict | None
    galleries: list[Gallery]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A judge as the page shows it.

    Attributes:
        documented: the score whose intervals are given.
        questions: all of them, the documented one first.
        histograms: of clean and faulty samples, or of all where the truth is not known.
        inverted: questions of which a high value speaks of a fault.
    """

    label: str
    documented: str
    questions: list[str]
    truths: Truths
    separations: list[Separation]
    histograms: list[Histogram]
    inverted: list[str]

    @property
    def overall(self) -> Separation | None:
        """Over all faults that were built into the judged samples themselves."""
        return next((each for each in self.separations if each.fault == OVERALL), None)

    @property
    def has_inherited(self) -> bool:
        """Whether a judged sample has its fault from its parent."""
        return INHERITED in self.truths.names


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a step took; None where that was not measured."""

    label: str
    seconds: float
    share: float
    size_bytes: int
    stats: Mapping[str, Any]


class Findings:
    """What there is to show; every image and truth is read at most once."""

    def __init__(
        self, lineage: Lineage, *, gallery: int, documented: str, truths: int, base: str = ""
    ) -> None:
        self.lineage = lineage
        self._gallery = gallery
        self._documented = documented
        self._most_truths = truths
        self._base = base
        self._directories: dict[str, Directory] = {}
        self._truths: dict[str, Truths] = {}

    # Counts

    @cached_property
    def accounts(self) -> list[Account]:
        """The books of every step."""
        return accounts(self.lineage)

    @property
    def balances(self) -> bool:
        """Whether every sum of every step comes out."""
        return all(account.balances for account in self.accounts)

    @cached_property
    def heldout(self) -> Heldout | None:
        """What the judge of this set reached on subjects it never saw, if that was measured."""
        return measured(step.manifest for step in self.lineage.steps.values())

    @property
    def edges(self) -> list[Edge]:
        """Lines from parent to child."""
        return self.lineage.edges()

    @property
    def rows(self) -> dict[str, int]:
        """Place of each step on the page."""
        return {name: number for number, name in enumerate(self.lineage.steps)}

    @property
    def widest(self) -> int:
        """Samples of the largest step: what the bars are measured against."""
        return max((account.books.planned for account in self.accounts), default=1) or 1

    @property
    def built(self) -> int:
        """Samples that builders made; a packer only copies."""
        return sum(account.books.made for account in self._builders)

    @property
    def failed(self) -> int:
        """Samples that no builder could make."""
        return sum(account.lost for account in self._builders)

    @property
    def _builders(self) -> list[Account]:
        return [account for account in self.accounts if account.kind == "samples" and account.type != "pack"]

    # Selections

    @cached_property
    def selections(self) -> list[Selected]:
        """Every selection, in order."""
        return [self._selected(name) for name, _ in self.lineage.of_kind("selection")]

    def _selected(self, name: str) -> Selected:
        decided = decisions(self.lineage, name)
        truths = self._truths_of(self.lineage.samples_of(name))
        histograms = decided.histograms()
        found = verdict(decided, truths) if histograms else None  # without a score nothing judged its faults
        return Selected(
            decided=decided,
            histograms=histograms,
            truths=truths,
            verdict=found,
            galleries=self._galleries(decided, found),
        )

    def _galleries(self, decided: Decisions, found: Verdict | None) -> list[Gallery]:
        count, kept = self._cards, decided.kept
        looks = [
            ("Kept", f"of {kept:,}, drawn by a hash of their keys", decided.look_at_kept(count)),
            (
                "Refused",
                f"of {len(decided.keys) - kept:,}, each reason in turn",
                decided.look_at_refused(count),
            ),
            ("Borderline", "nearest to a bound, from both sides", decided.look_at_borderline(count)),
        ]
        if found:
            for heading, wrong in (
                ("Kept though faulty", found.wrongly_kept),
                ("Refused though clean", found.wrongly_refused),
            ):
                looks.append(
                    (heading, f"of {len(wrong):,}, farthest from the bound first", list(wrong[:count]))
                )
        return [
            Gallery(heading=heading, note=note, cards=self._shown(decided, keys))
            for heading, note, keys in looks
            if keys
        ]

    def _shown(self, decided: Decisions, keys: list[str]) -> list[Card]:
        directory = self._directory(self.lineage.samples_of(decided.name))
        judges = [self.lineage.steps[name] for name in self.lineage.parents(decided.name, "scores")]
        return cards(directory, keys, [judge.storage for judge in judges], decided, Reasons(judges))

    @property
    def _cards(self) -> int:
        """Cards in each gallery."""
        galleries = 5 * len(list(self.lineage.of_kind("selection"))) + len(self._unselected)
        galleries += len(LOOKS) * len(self._evaluations)
        return min(self._gallery, MAX_CARDS // max(galleries, 1))

    # Samples that nothing was selected from

    @cached_property
    def samples(self) -> list[tuple[str, Gallery]]:
        """A look at each set that no selection and no benchmark shows."""
        looks = [(self.lineage.labels[name], self._look(name)) for name in self._unselected]
        return [(label, look) for label, look in looks if look.cards]

    @property
    def _unselected(self) -> list[str]:
        sets = self.lineage.of_kind("samples")
        evaluated = {self.lineage.samples_of(name) for name in self._evaluations}
        return [n for n, _ in sets if not self.lineage.selections_of(n) and n not in evaluated]

    def _look(self, name: str) -> Gallery:
        directory = self._directory(name)
        keys = sorted(directory.places, key=short_hash)
        judges = [
            step for child, step in self.lineage.of_kind("scores") if self.lineage.samples_of(child) == name
        ]
        return Gallery(
            heading="Samples",
            note=f"of {len(keys):,}, drawn by a hash of their keys",
            cards=cards(
                directory, keys[: self._cards], [judge.storage for judge in judges], None, Reasons(judges)
            ),
        )

    # Judges

    @cached_property
    def verified(self) -> list[Verified]:
        """Every verified set: its checks and a grid of verdicts."""
        return verified(self.lineage, self._most_truths, GRID if self._gallery else 0)

    @cached_property
    def judges(self) -> list[Judged]:
        """Every directory of scores, in order."""
        return [
            self._judged(name, step)
            for name, step in self.lineage.of_kind("scores")
            if questions(step.storage) and name not in self._evaluations
        ]

    def _judged(self, name: str, step: Input) -> Judged:
        scores = checks_alone(all_scores(step.storage))
        first = self._documented if self._documented in scores else next(iter(scores))
        asked = [first, *(question for question in scores if question != first)]
        truths = self._truths_of(self.lineage.samples_of(name))
        inverted = [question for question in scores if self._is_fault(name, question)]
        found = separations({q: scores[q] for q in asked}, truths, first, inverted)
        return Judged(
            label=self.lineage.labels[name],
            documented=first,
            questions=asked,
            truths=truths,
            separations=found,
            histograms=[_judged_parts(scores[q], truths if found else None) for q in asked],
            inverted=inverted,
        )

    def _is_fault(self, name: str, question: str) -> bool:
        if question in ASK_FOR_A_FAULT:
            return True
        readers = set(self.lineage.selections_of(name))
        return any(s.decided.is_bounded_above(question) for s in self.selections if s.decided.name in readers)

    @cached_property
    def watched(self) -> list[Watched]:
        """Of each judge its controls and its cost, where there are any."""
        found = [
            watch(self.lineage.labels[n], s.storage, s.manifest) for n, s in self.lineage.of_kind("scores")
        ]
        return [each for each in found if each.controls or each.costs]

    # Benchmarks

    @cached_property
    def _evaluations(self) -> dict[str, Evaluated]:
        return evaluations(self.lineage, self._base)

    @cached_property
    def benchmarks(self) -> list[Benchmarked]:
        """Evaluations, those of one benchmark side by side."""
        return benchmarked(self.lineage, self._evaluations, self._directory, -(-self._cards // 2))

    # Models

    @cached_property
    def models(self) -> list[tuple[str, list[Trained]]]:
        """Every training run, in order, with its stages."""
        return [
            (self.lineage.labels[name], stages(step.storage)) for name, step in self.lineage.of_kind("model")
        ]

    # How it was made

    @property
    def timings(self) -> list[Timing]:
        """Seconds, rates and sizes of each step."""
        manifests = {name: step.manifest for name, step in self.lineage.steps.items()}
        seconds = {name: _number(manifest.stats.get("seconds")) for name, manifest in manifests.items()}
        longest = max(seconds.values(), default=0) or 1
        return [
            Timing(
                label=self.lineage.labels[name],
                seconds=seconds[name],
                share=seconds[name] / longest,
                size_bytes=sum(file.size for file in manifest.files.values()),
                stats=manifest.stats,
            )
            for name, manifest in manifests.items()
        ]

    @property
    def versions(self) -> list[tuple[str, str]]:
        """Each software's versions, those of different steps side by side."""
        found: dict[str, set[str]] = {}
        for step in self.lineage.steps.values():
            for package, version in step.manifest.versions.items():
                found.setdefault(package, set()).add(version)
        return [(package, ", ".join(sorted(versions))) for package, versions in sorted(found.items())]

    @property
    def recipe(self) -> str:
        """The recipe that makes all this again."""
        return recipe_text(self.lineage)

    @property
    def command(self) -> str:
        """The command that runs it."""
        return command(self.lineage)

    # What is read once

    def _directory(self, name: str) -> Directory:
        if name not in self._directories:
            self._directories[name] = Directory(self.lineage.steps[name].storage)
        return self._directories[name]

    def _truths_of(self, name: str) -> Truths:
        if name not in self._truths:
            self._truths[name] = read_truths(self._directory(name), self._most_truths)
        return self._truths[name]


def _judged_parts(score: Score, truths: Truths | None) -> Histogram:
    if truths is None:
        return histogram(score, {"judged": score.keys})
    return histogram(score, {"clean": truths.keys([CLEAN]), "faulty": truths.keys(truths.names)})


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
