"""Measures the embedded verifier on panoramas, poses and parents that it was not fitted on.

    python -m tools.evaluate_checks [--samples 480] [--seed 3001] [--split heldout] [--drifts] [--write]

Multi-candidate samples of held-out subjects, every fault in a known share of them; each check against the
truth, sample by sample: of what it refuses, the share that is faulty (precision), and of what is faulty, the
share that it refuses (recall), with bootstrap intervals. `--drifts` shifts and zooms edited references as
generative editors do. `--write` vendors the table as filters/assets/checks_heldout.json, which the README
shows. About 6 CPU-minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from datagen.multi_candidate import FAULTS
from filters.check_measure import CheckMeasure, measure_check
from filters.checks import ALL, CHECKS, QUESTIONS, check_rows, is_asked
from filters.embedded import ASSETS
from filters.embedded_checks import EmbeddedChecksConfig
from filters.judge import Row, make_requests, make_rows
from filters.multi_answers import multi_answer
from filters.rubrics import pick_questions
from tools.checked_samples import Part, edited_samples, map_checked

SHARE = 0.07  # of the samples with each fault; 44 % are clean
TABLE = ASSETS / "checks_heldout.json"

Checked = tuple[str, dict[str, list[tuple[Row, float | None]]]]
"""A sample's fault, and each check's rows with their right answers."""


def main() -> None:
    """Check, print, and write if asked."""
    options = _options()
    found = map_checked(look, options.split, options.samples, options.seed, SHARE, drifts=options.drifts)
    measures = measure(found)
    for each in measures:
        print(line(each))
    if options.write:
        write(measures, options)


def look(part: Part) -> list[Checked]:
    """Check a part's samples through requests and replies, as the step does."""
    engine, questions = EmbeddedChecksConfig().build(), pick_questions(QUESTIONS)
    found: list[Checked] = []
    for sample in edited_samples(part):
        requests = [
            request
            for request in make_requests(sample, questions, engine.identity)
            if is_asked(sample, request.question, request.reference, request.candidate, sample.known)
        ]
        rows = make_rows(sample.key, questions, requests, engine.answer(sample, requests))
        checks = check_rows(sample, rows)
        told = {
            name: [(row, multi_answer(name, sample, row["reference"], -1)) for row in each]
            for name, each in checks.items()
        }
        found.append((str(sample.provenance.truth["fault"]), told))
    return found


def measure(found: Sequence[Checked]) -> list[CheckMeasure]:
    """Every check's figures."""
    measures = []
    for check in (*CHECKS, ALL):
        pairs = [pair for _, told in found for pair in told[check]]
        right = {(r["key"], r["reference"], r["candidate"]): v for r, v in pairs if v is not None}
        faults = {told[check][0][0]["key"]: fault for fault, told in found}
        measured = measure_check(check, [row for row, _ in pairs], right, faults)
        measures += [measured] if measured else []
    return measures


def line(each: CheckMeasure) -> str:
    """A check in words."""
    parts = [f"{each.check:18} {each.faulty:3d} of {each.n} faulty, {each.refused} refused"]
    for name, found in (("precision", each.precision), ("recall", each.recall)):
        parts.append(
            f"{name} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found else f"{name} -"
        )
    parts.append(f"recall at 0.95 {each.recall_at_95}")
    return "; ".join([*parts, ", ".join(f"{f} {hits}/{n}" for f, (hits, n) in each.found.items())])


def write(measures: Sequence[CheckMeasure], options: argparse.Namespace) -> None:
    """Vendor the table."""
    drifts = " --drifts" if options.drifts else ""
    content = {
        "command": f"python -m tools.evaluate_checks --samples {options.samples} --seed {options.seed}"
        f"{drifts} --write",
        "judge": dict(EmbeddedChecksConfig().identity),
        "faults": dict.fromkeys(FAULTS, SHARE),
        "checks": [asdict(each) for each in measures],
    }
    TABLE.write_text(json.dumps(_rounded(content), indent=1) + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=480)
    parser.add_argument("--seed", type=int, default=3001)
    parser.add_argument("--split", choices=("heldout", "calibration"), default="heldout")
    parser.add_argument("--drifts", action="store_true")
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
