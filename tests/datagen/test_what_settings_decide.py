"""Every setting of every importer and builder, changed: no byte changes behind a hash that stays."""

import hashlib

import published_sets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.importers.directory import DirectorySettings
from datagen.importers.echo_4o import Echo4oSettings
from datagen.importers.jsonl import JsonlSettings
from datagen.importers.musar_gen import MusarGenSettings
from datagen.importers.parquet import HfSettings
from datagen.importers.scone_parquet import SconeParquetSettings
from datagen.importers.subjects200k import Subjects200kSettings
from datagen.importers.table import TableSettings
from datagen.importers.uno_1m import Uno1mSettings
from datagen.importers.webdataset_tar import ImportConfig
from datagen.importers.x2i import X2iSettings
from datagen.multi_candidate import MultiCandidateConfig
from datagen.multi_input import MultiInputConfig
from datagen.single_candidate import SingleCandidateConfig
from inline_run import run_inline
from recipes.steps import STEPS
from shards.tar import TarWriter

SMALL = {"min_side_px": 8}


def webdataset(root):
    root.mkdir(parents=True)
    with TarWriter(root / "a.tar") as tar:
        for n in range(2):
            tar.add(f"k{n}.json", b'{"instruction": "the cup %d"}' % n)
            tar.add(f"k{n}.ref0.png", published_sets.picture(10 * n))
            tar.add(f"k{n}.target.png", published_sets.picture(10 * n + 1, (24, 48)))


def finished_directory(root):
    published_sets.omnigen2(root.parent / "jsonl", count=2)
    made = run_inline(root.parent / "made", JsonlSettings(path=str(root.parent / "jsonl"), clean=SMALL))
    made.storage.delete("work")
    (root.parent / "made" / made.manifest.directory).rename(root)


# Other values of each setting.
SHARED = {
    "prefix": "other",
    "licence": "cc-by-nc-4.0",
    "sample": 2,
    "seed": 5,
    "clean": {"min_side_px": 8, "allow_non_commercial": False},
}
ARCHIVES = {**SHARED, "threads": 1, "scratch": "somewhere"}
ROWS = {**SHARED, "max_page_bytes": 1 << 20, "files": ("*.parquet", "*.more")}
IMPORTERS = {
    "jsonl": (
        published_sets.omnigen2,
        JsonlSettings,
        ARCHIVES | {"where": {"references": 2}, "columns": {"case": "task_type"}, "files": ("train.jsonl",)},
    ),
    "table": (
        published_sets.folder,
        TableSettings,
        ARCHIVES | {"where": {"licence": "cc0-1.0"}, "columns": {"case": "licence"}, "files": ("*.csv",)},
    ),
    "x2i": (
        published_sets.x2i,
        X2iSettings,
        ARCHIVES
        | {
            "where": {"file": "character.jsonl"},
            "columns": {"case": "instruction"},
            "archives": {"single": "single/*"},
            "files": ("web*.jsonl",),
        },
    ),
    "echo": (
        published_sets.echo_4o,
        Echo4oSettings,
        ARCHIVES
        | {
            "where": {"category": "hum_sce"},
            "columns": {"case": "type"},
            "archives": {"Echo-4o-Image": "*human*"},
            "files": ("*hum_sce.jsonl",),
        },
    ),
    "uno": (
        lambda root: published_sets.uno_1m(root, splits=(1,)),
        Uno1mSettings,
        ARCHIVES
        | {
            "where": {"score": {"min": 3}},
            "columns": {"score": "x"},
            "archives": {"split1": "images/*"},
            "dimensions": ("Shape",),
        },
    ),
    "musar": (
        published_sets.musar_gen,
        MusarGenSettings,
        ROWS
        | {
            "where": {"cond_prompt_1": "a lamp"},
            "columns": {"cond_img_0": "cond_img_1"},
            "instruction": "published",
        },
    ),
    "subjects200k": (
        published_sets.subjects200k,
        Subjects200kSettings,
        ROWS | {"where": {"hq": True}, "columns": {"collection": "x"}, "is_swapped": True},
    ),
    "scone": (
        published_sets.scone_parquet,
        SconeParquetSettings,
        ROWS
        | {"where": {"instruction": "fox 1 runs"}, "columns": {"licence": "instruction"}, "more": ("x",)},
    ),
    "parquet": (
        published_sets.parquet,
        HfSettings,
        ROWS | {"where": {"kind": "a"}, "columns": {"licence": "kind"}, "more": ("kind", "instruction")},
    ),
    "directory": (
        finished_directory,
        DirectorySettings,
        {"where": {"references": 2}, "sample": 1, "seed": 5, "clean": {"allow_non_commercial": False}},
    ),
    "import": (
        webdataset,
        ImportConfig,
        {"source": "other", "licence": "mit", "min_side_px": 25, "max_aspect": 1.5},
    ),
}
BESIDE = {"parquet": {"more": ("kind",)}, "import": {"source": "set"}}
REFUSED = {"directory": {"columns", "licence", "prefix"}}  # samples as they are
SERVED = {"inputs", "output", "writer", "editor"}  # tested with their servers
BUILDERS = {
    "samples": 9,
    "seed": 5,
    "faults": {"copy_paste": 0.5},
    "split": "calibration",
    "licence": "mit",
    "prefix": "other",
    "size_px": 144,
    "references": {1: 1.0},
    "ordered": 1.0,
    "terse": 1.0,
    "styles": {"photo 1": 1.0},
    "samples_at_once": 3,
    "tolerate_unanswered": 0.5,
    "swap": 0.0,
    "intra": 0.0,
    "position": 1.0,
    "rounds": 1,
    "edit_px": 512,
    "locate": False,
}


OTHER_CASES = {
    SingleCandidateConfig: {"object": 1.0},
    MultiInputConfig: {"character+character+object": 1.0},
    MultiCandidateConfig: dict.fromkeys(MultiCandidateConfig(samples=1).cases, 2.0),
}


def files_of(made):
    """The hashes of all files of a finished directory but its manifest."""
    return {name: hashlib.sha256(made.storage.read(name)).hexdigest() for name in made.manifest.files}


def made_by(made):
    """The hash of each sample's content, by the hash of what decided it."""
    tables = [
        pq.read_table(pa.BufferReader(made.storage.read(name)), columns=["made_by", "digest"])
        for name in made.manifest.files
        if name.startswith("index/")
    ]
    return dict(row for table in tables for row in zip(*table.to_pydict().values(), strict=True))


def check(first, again, settings, changed):
    """What may not be: other bytes behind the hash of a step, or behind that of a sample."""
    if settings.computed() == changed.computed():
        assert files_of(first) == files_of(again)
    if settings.content() == changed.content():
        before, after = made_by(first), made_by(again)
        shared = before.keys() & after.keys()
        assert {by: before[by] for by in shared} == {by: after[by] for by in shared}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Each set as it lies there, and a first import of it."""
    side, published_sets.SIDE = published_sets.SIDE, 24
    found = {}
    try:
        for name, (write, importer, _) in IMPORTERS.items():
            root = tmp_path_factory.mktemp(name) / "set"
            write(root)
            settings = usual(name, importer, root)
            found[name] = root, settings, run_inline(root.parent / "out", settings, opens=False)
    finally:
        published_sets.SIDE = side
    return found


def usual(name, importer, root, **changes):
    fixed = {"paths": (str(root / "*.tar"),)} if importer is ImportConfig else {"path": str(root)}
    if importer is not ImportConfig:
        fixed["clean"] = {} if importer is DirectorySettings else SMALL
    return importer(**fixed | BESIDE.get(name, {}) | changes)


@pytest.mark.parametrize("name", IMPORTERS)
def test_no_setting_of_an_importer_changes_bytes_behind_a_hash(name, imported, tmp_path):
    root, settings, first = imported[name]
    _, importer, changes = IMPORTERS[name]
    fields = set(importer.model_fields) - {"path", "paths"} - REFUSED.get(name, set())
    assert fields - set(changes) - {"archives"} == set(), "a setting that this test does not change"
    assert first.manifest.books.made
    for field in sorted(fields & set(changes)):
        changed = usual(name, importer, root, **{field: changes[field]})
        assert changed != settings, field
        check(first, run_inline(tmp_path / field, changed, opens=False), settings, changed)


def test_an_importer_s_samples_are_never_copied_by_their_settings_alone():
    """What decides them is the set, which only the step's hash covers."""
    assert not [name for name, step in STEPS.items() if name.startswith("import") and step.is_costly]


@pytest.mark.parametrize("builder", [SingleCandidateConfig, MultiInputConfig, MultiCandidateConfig])
def test_no_setting_of_a_builder_changes_bytes_behind_a_hash(builder, tmp_path):
    small = {} if builder is MultiCandidateConfig else {"size_px": 128}
    inputs = []
    if builder is MultiCandidateConfig:
        base = SingleCandidateConfig(samples=12, size_px=160, references={2: 1.0})
        inputs = [run_inline(tmp_path / "base", base, opens=False).storage]
    settings = builder(samples=6, **small)
    first = run_inline(tmp_path / "out", settings, inputs=inputs, opens=False)
    assert first.manifest.books.made
    fields = set(builder.model_fields) - SERVED - {"catalogue"}  # a catalogue has a test of its own
    values = BUILDERS | {"cases": OTHER_CASES[builder]}
    for field in sorted(fields):
        changed = builder(**{"samples": 6, **small, field: values[field]})
        again = run_inline(tmp_path / field, changed, inputs=inputs, opens=False)
        check(first, again, settings, changed)


def test_the_wording_of_musar_gen_is_part_of_what_decides_a_sample(tmp_path):
    published_sets.musar_gen(tmp_path / "set")
    one, other = (MusarGenSettings(path=str(tmp_path / "set"), seed=seed) for seed in (1, 2))
    assert one.content() != other.content()
    words = [set(run_inline(tmp_path / str(each.seed), each).by_instruction()) for each in (one, other)]
    assert words[0] != words[1]
    first, second = (set(made_by(run_inline(tmp_path / str(each.seed), each))) for each in (one, other))
    assert not first & second
