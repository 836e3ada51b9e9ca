"""The card: what a set is, told from what was written."""

from collections import Counter
from pathlib import Path

import published_sets
import pyarrow as pa
import yaml

from datagen.exporters import hf
from datagen.exporters.hf import Card, export_hf
from datagen.exporters.kept import Target, kept_of
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.scone_parquet import SconeParquetSettings
from inline_run import run_inline
from shards.manifest import Manifest, write_manifest
from shards.mix import MixConfig
from shards.selection import FILE, write_selection


def test_the_card_tells_each_config_each_licence_and_each_step_from_the_source_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hf, "SAMPLES_A_SHARD", 2)
    published_sets.omnigen2(tmp_path / "two", count=3)
    published_sets.scone_parquet(tmp_path / "one")
    two = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "two"), licence="mit"), name="two")
    one = run_inline(tmp_path / "out", SconeParquetSettings(path=str(tmp_path / "one")), name="one")
    counts = {each.samples[0].provenance.source: len(each.samples) for each in (one, two)}
    both = run_inline(
        tmp_path / "out",
        MixConfig(counts=counts),
        name="both",
        inputs=[one.storage, two.storage],
        parents={"input": [one.manifest.directory, two.manifest.directory]},
    )
    card = Card(title="Both", picture=b"png", thresholds=["`kept`: 3"])
    told = export_hf(kept_of(both.storage.uri), Target(str(tmp_path / "x")), card)
    text = (tmp_path / "x/README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    sizes = Counter(len(sample.references) for sample in both.samples)
    assert [c["config_name"] for c in front["configs"]] == [f"references_{n}" for n in sorted(sizes)]
    assert told[:-1] == [f"{sizes[n]} samples with {n} references" for n in sorted(sizes)]
    for n, count in sizes.items():
        assert f"| references_{n} | {n} | {count} | {-(-count // 2)} |" in text
        assert len(list((tmp_path / f"x/data/references_{n}").iterdir())) == -(-count // 2)
    assert (front["license"], front["pretty_name"]) == ("other", "Both")
    rows = Counter((s.provenance.source, s.provenance.licence, s.provenance.task) for s in both.samples)
    places = [
        text.index(f"| {s} | {licence or 'not known'} | {task} | {n} |")
        for (s, licence, task), n in sorted(rows.items())
    ]
    assert places == sorted(places)
    assert text.index("### one (one)") < text.index("### two (two)") < text.index("### both (both)")
    assert "- `kept`: 3" in text
    assert "No judge scored these samples." in text
    assert "![some samples" in text
    assert (tmp_path / "x/samples.png").read_bytes() == b"png"


def test_what_a_selection_read_stands_in_the_recipe_after_what_that_was_made_from(tmp_path):
    published_sets.omnigen2(tmp_path / "set")
    base = run_inline(tmp_path / "out", JsonlSettings(path=str(tmp_path / "set")), name="base")
    made = base.manifest.directory
    fields = {"hash": "0" * 64, "config": {}}
    judged = Manifest(name="judged", type="judge", kind="scores", parents={"input": [made]}, **fields)
    parents = {"input": [made], "scores": [judged.directory]}
    refined = Manifest(name="refined", type="select", kind="selection", parents=parents, **fields)
    for manifest in (judged, refined):
        write_manifest(base.storage.sibling(manifest.directory), manifest)
    place = base.storage.sibling(refined.directory)
    keys = [sample.key for sample in base.samples]
    table = pa.table({"key": keys, "keep": [True] * len(keys), "reason": [""] * len(keys)})
    write_selection(table, Path(place.path(FILE)))
    export_hf(kept_of(place.uri), Target(str(tmp_path / "x")), Card(title="Refined"))
    lines = (tmp_path / "x/README.md").read_text().splitlines()
    steps = ["### base (base)", "### judged (judge)", "### refined (select)"]
    assert [line for line in lines if line.startswith("### ")] == steps
