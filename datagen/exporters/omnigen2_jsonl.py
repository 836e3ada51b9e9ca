"""OmniGen2-style jsonl with the pictures beside it."""

from __future__ import annotations

import json

from datagen.exporters.kept import Kept, Target

A_FOLDER = 1000  # samples: a folder of a million files is slow on most disks


def export_jsonl(kept: Kept, target: Target) -> list[str]:
    """Write `train.jsonl` and `images/`; return lines for a person."""
    with target.storage.scratch() as path:
        with path.open("w", encoding="utf-8") as lines:
            for number, sample in enumerate(kept.samples()):
                names = []
                for name, data in sample.images:
                    names.append(f"images/{number // A_FOLDER:05d}/{sample.key}.{name}")
                    target.storage.write(names[-1], data, is_durable=False)
                about = json.loads(sample.parts["json"])
                row = {
                    "task_type": sample.row["task"],
                    "case_type": sample.row["case"],
                    "instruction": about["instruction"],
                    "input_images": names[:-1],
                    "output_image": names[-1],
                    "key": sample.key,
                    "licence": sample.row["licence"],
                    "source": sample.row["source"],
                }
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        target.publish(path, "train.jsonl")
    return [f"{len(kept)} samples in {target.storage.path('train.jsonl')}, paths relative to its folder"]
