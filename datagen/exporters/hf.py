"""The Hugging Face layout: WebDataset shards, a config for each number of references, a full card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Any

import pyarrow.compute as pc
import yaml

from datagen.exporters.kept import Kept, KeptSample, Target
from datagen.exporters.tar_shards import write_shards
from shards.manifest import Manifest

SAMPLES_A_SHARD = 1000

STRING = {"dtype": "string"}
SUBJECT = [
    {"name": "name", **STRING},
    {"name": "category", **STRING},
    {"name": "phrase", **STRING},
    {"name": "is_target", "dtype": "bool"},
    {"name": "box", "list": "int64"},
]
# Each shard holds samples of one shape: `datasets` refuses others unless features say what can be missing.
JSON = [
    *({"name": name, **STRING} for name in ("instruction", "task", "case", "source", "licence", "origin")),
    {"name": "subjects", "list": {"list": SUBJECT}},
]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says beyond the data.

    Attributes:
        title: of the set.
        picture: a PNG of some samples, or none.
        rubric: the judge's questions with their texts, by name.
        thresholds: what selections asked of scores, in lines.
        calibration: how the judge was checked, in lines.
    """

    title: str
    picture: bytes = b""
    rubric: Mapping[str, str] = field(default_factory=dict)
    thresholds: Sequence[str] = ()
    calibration: Sequence[str] = ()


class _Plain(yaml.SafeDumper):
    """YAML without anchors: a person reads the card, and edits one config of it."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002, none is wanted
        return True


@dataclass
class _Config:
    """One config: samples with so many references."""

    references: int
    samples: int = 0
    shards: int = 0
    names: dict[str, None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"references_{self.references}"


def export_hf(kept: Kept, target: Target, card: Card) -> list[str]:
    """Write shards and `README.md`; return lines for a person."""
    counts = sorted(set(kept.index.column("references").to_pylist()))
    configs = [_write_config(kept, target, references) for references in counts]
    if card.picture:
        target.write("samples.png", card.picture)
    target.write("README.md", _readme(kept, configs, card).encode())
    told = [f"{config.samples} samples with {config.references} references" for config in configs]
    return [*told, f"read it with datasets.load_dataset({target.storage.path()!r}, {configs[0].name!r})"]


def _write_config(kept: Kept, target: Target, references: int) -> _Config:
    config = _Config(references)
    of = kept.index.filter(pc.equal(kept.index.column("references"), references))
    for shard in write_shards(target, kept.samples(of), f"data/{config.name}", SAMPLES_A_SHARD, flat_json):
        config.shards += 1
        config.samples += len(shard.samples)
        for _, members in shard.samples:
            config.names.update(dict.fromkeys(member.name.partition(".")[2] for member in members))
    return config


def flat_json(sample: KeptSample) -> bytes:
    """A sample's JSON with the same fields in every sample; the origin as text, as each set has its own."""
    about: dict[str, Any] = json.loads(sample.parts["json"])
    where = about["provenance"]
    flat = {
        "instruction": about["instruction"],
        **{name: where[name] for name in ("task", "case", "source", "licence")},
        "origin": json.dumps(where["origin"], sort_keys=True, ensure_ascii=False),
        "subjects": about["subjects"],
    }
    return json.dumps(flat, sort_keys=True, ensure_ascii=False).encode()


def _readme(kept: Kept, configs: Sequence[_Config], card: Card) -> str:
    front = yaml.dump(_front(kept, configs, card), Dumper=_Plain, sort_keys=False, allow_unicode=True)
    return "\n".join([f"---\n{front}---\n", *_text(kept, configs, card)]) + "\n"


def _front(kept: Kept, configs: Sequence[_Config], card: Card) -> dict[str, Any]:
    licences = sorted(set(kept.index.column("licence").to_pylist()))
    return {
        "pretty_name": card.title,
        "license": licences[0] if len(licences) == 1 and _is_plain(licences[0]) else "other",
        "task_categories": ["image-to-image"],
        "configs": [
            {"config_name": c.name, "data_files": [{"split": "train", "path": f"data/{c.name}/*.tar"}]}
            for c in configs
        ],
        "dataset_info": [{"config_name": c.name, "features": _features(c)} for c in configs],
    }


def _is_plain(licence: str) -> bool:
    return licence != "" and " " not in licence


def _features(config: _Config) -> list[dict[str, Any]]:
    images = [{"name": name, "dtype": "image"} for name in config.names if name != "json"]
    return [
        {"name": "__key__", **STRING},
        {"name": "__url__", **STRING},
        {"name": "json", "struct": JSON},
        *images,
    ]


def _text(kept: Kept, configs: Sequence[_Config], card: Card) -> list[str]:
    lines = [f"# {card.title}", "", f"{len(kept)} samples for subject-driven image generation: reference"]
    lines += ["images and an instruction in, one target image out.", ""]
    if card.picture:
        lines += ["![some samples: references, then the target](samples.png)", ""]
    lines += ["| config | references | samples | shards |", "|---|---|---|---|"]
    lines += [f"| {c.name} | {c.references} | {c.samples} | {c.shards} |" for c in configs]
    lines += [
        "",
        "A picture keeps the type it was published in: where a set mixes types, a config has a column",
    ]
    lines += ["for each (`ref0.jpg`, `ref0.png`), and all but one of them are null in a sample.", ""]
    lines += _counted(kept)
    if card.rubric:
        lines += ["", "## Rubric", *(_quoted(name, text) for name, text in card.rubric.items())]
    lines += ["", "## Thresholds", *_listed(card.thresholds, "No selection by scores was made.")]
    lines += ["", "## Calibration", *_listed(card.calibration, "No judge scored these samples.")]
    return [*lines, "", "## Recipe", "", *_recipe(kept.chain)]


def _quoted(name: str, text: str) -> str:
    """A question as it was asked: its own lists and blank lines are no part of the card's."""
    return f"\n**{name}**\n\n```text\n{text.strip()}\n```"


def _listed(lines: Sequence[str], nothing: str) -> list[str]:
    return [f"- {line}" for line in lines] or [nothing]


def _counted(kept: Kept) -> list[str]:
    lines = ["## Sources, licences, tasks", "", "| source | licence | task | samples |", "|---|---|---|---|"]
    groups = kept.index.group_by(["source", "licence", "task"]).aggregate([("key", "count")]).to_pylist()
    for row in sorted(groups, key=lambda row: (row["source"], row["licence"], row["task"])):
        licence = row["licence"] or "not known"
        lines += [f"| {row['source']} | {licence} | {row['task']} | {row['key_count']} |"]
    return lines


def _sources_first(chain: Sequence[Manifest]) -> list[Manifest]:
    """Each step after those it read; of these the first one it names first."""
    known = {manifest.directory: manifest for manifest in chain}
    read = {name: [one for names in each.parents.values() for one in names] for name, each in known.items()}
    return [known[name] for name in TopologicalSorter(read).static_order() if name in known]


def _recipe(chain: Sequence[Manifest]) -> list[str]:
    """Every step, from the source on: settings, thresholds among them, and what became of the samples."""
    lines = []
    for manifest in _sources_first(chain):
        books = manifest.books
        lines += [f"### {manifest.name} ({manifest.type})", ""]
        lines += [f"read {books.read}, made {books.made}, rejected {books.failed + books.refused}"]
        lines += [f"- {count} {reason}" for reason, count in sorted(books.reasons.items())]
        settings = yaml.safe_dump(manifest.config.get("settings", {}), sort_keys=True, allow_unicode=True)
        lines += ["", "```yaml", settings.rstrip(), "```", ""]
    return lines
