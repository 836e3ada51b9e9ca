"""Measures the embedded judge on subjects and panoramas that it was not fitted on.

    python -m tools.evaluate_judge [--samples 1060] [--seed 1001] [--split heldout] [--write]

One documented score: the expected value of `consistency`. For each fault, ROC AUC of clean samples against
faulty ones with a bootstrap interval, and for all faults together; then the other questions' scores where
truth is known; multi-candidate samples; a control with shuffled labels; and CPU seconds a sample. `--write`
vendors the table as filters/assets/heldout.json, for the report. About 7 CPU-minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datagen.single_candidate import SingleCandidateConfig
from filters.calibrate import Interval, auc_with_interval
from filters.embedded import ANSWERS, ASSETS, EmbeddedEngineConfig
from filters.judge import WHOLE, Row, make_requests, make_rows
from filters.rubrics import pick_questions
from shards.sample import Sample
from shards.stage import Planned
from tools.fit_judge import NO, YES, states
from tools.multi_candidates import WRONG, build_multi, plan_multi
from tools.rendered_samples import FAULTS, Split, build, fault_of, map_samples

CLEAN = 0.3
TABLE = ASSETS / "heldout.json"


@dataclass(frozen=True)
class Judged:
    """A sample's truth and answers.

    Attributes:
        fault: the injected one, with its variant where it has any.
        states: per reference its fault, "fine", or "scene".
        rows: the answers, by question.
        cpu_s: what judging cost, decoding included.
    """

    fault: str
    states: tuple[str, ...]
    rows: dict[str, list[Row]]
    cpu_s: float

    def score(self, question: str, reference: int = WHOLE) -> float:
        """The expected value of an answer."""
        return float(next(r["expected"] for r in self.rows[question] if r["reference"] == reference))


class Measured(NamedTuple):
    """An area under the ROC curve, and how many rows should score high and low."""

    auc: Interval
    good: int
    bad: int


def main() -> None:
    """Judge, print, and write if asked."""
    options = _options()
    judged = map_samples(judge, options.split, options.samples, options.seed, CLEAN)
    table = measure(judged) | measure_multi(options.split, options.samples // 3, options.seed)
    for name, (auc, good, bad) in table.items():
        print(f"{name:42} {auc.value:.3f}  [{auc.low:.3f}, {auc.high:.3f}]  {good:4d} / {bad:4d}")
    cpu_s = float(np.mean([one.cpu_s for one in judged]))
    print(f"{len(judged)} samples of {options.split}; {cpu_s:.3f} CPU-s a sample")
    if options.write:
        write(table, len(judged), options.seed, cpu_s)


def judge(config: SingleCandidateConfig, planned: list[Planned]) -> list[Judged]:
    """Judge samples through requests and replies, as the step does."""
    return judge_samples(build(config, planned))


def judge_samples(samples: Iterable[Sample]) -> list[Judged]:
    """Judge samples one after the other."""
    engine = EmbeddedEngineConfig().build()
    questions = pick_questions(ANSWERS)
    judged = []
    for sample in samples:
        start = time.process_time()
        requests = make_requests(sample, questions, engine.identity)
        rows = make_rows(sample.key, questions, requests, engine.answer(sample, requests))
        cpu_s = time.process_time() - start
        variant = sample.provenance.truth.get("variant")
        fault = f"{fault_of(sample)} ({variant})" if variant else fault_of(sample)
        judged.append(Judged(fault, states(sample), rows, cpu_s))
    return judged


def measure(judged: Sequence[Judged]) -> dict[str, Measured]:
    """The table: consistency against each fault, then the other questions."""
    scores = [(one.fault, one.score("consistency")) for one in judged]
    table = {"consistency: all faults": against(scores, "")}
    for fault in sorted({fault for fault, _ in scores} | set(FAULTS)):
        if fault != "none":
            table[f"consistency: {fault}"] = against(scores, fault)
    table |= {f"{name}: per reference": _reference_auc(judged, name) for name in YES}
    copies = [(one.fault == "copy_paste", one.score("copy_paste")) for one in judged]
    table["copy_paste: against all else"] = measured(copies)
    table["control: shuffled labels"] = _shuffled(scores)
    return table


def measure_multi(split: Split, number: int, seed: int) -> dict[str, Measured]:
    """Multi-candidate samples whose target shows the chosen candidate, against those that show another."""
    config, variants = plan_multi(split, number, seed)
    judged = judge_samples(build_multi(config, variants, split))
    scores = [(one.fault, one.score("consistency")) for one in judged]
    return {f"consistency, multi-candidate: {WRONG}": against(scores, WRONG)}


def against(scores: Sequence[tuple[str, float]], fault: str) -> Measured:
    """Clean samples against those whose fault begins with `fault`."""
    chosen = [(name == "none", score) for name, score in scores if name == "none" or name.startswith(fault)]
    return measured(chosen)


def _reference_auc(judged: Sequence[Judged], question: str) -> Measured:
    rows = [
        (state in YES[question], one.score(question, reference))
        for one in judged
        for reference, state in enumerate(one.states)
        if state in YES[question] + NO[question]
    ]
    return measured(rows)


def _shuffled(scores: Sequence[tuple[str, float]]) -> Measured:
    labels = np.random.default_rng(0).permutation([fault == "none" for fault, _ in scores])
    return measured([(bool(label), score) for label, (_, score) in zip(labels, scores, strict=True)])


def measured(rows: Sequence[tuple[bool, float]]) -> Measured:
    """How well the scores of true rows stand above those of false ones."""
    good, bad = ([score for label, score in rows if label is wanted] for wanted in (True, False))
    return Measured(auc_with_interval(good, bad), len(good), len(bad))


def write(table: dict[str, Measured], samples: int, seed: int, cpu_s: float) -> None:
    """Vendor the table."""
    content = {
        "command": f"python -m tools.evaluate_judge --samples {samples} --seed {seed} --write",
        "judge": dict(EmbeddedEngineConfig().identity),
        "samples": samples,
        "cpu_s_per_sample": round(cpu_s, 3),
        "auc": {
            name: {
                "value": round(one.auc.value, 4),
                "low": round(one.auc.low, 4),
                "high": round(one.auc.high, 4),
                "good": one.good,
                "bad": one.bad,
            }
            for name, one in table.items()
        },
    }
    Path(TABLE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=1060)
    parser.add_argument("--seed", type=int, default=1001)
    parser.add_argument("--split", choices=("heldout", "calibration"), default="heldout")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
