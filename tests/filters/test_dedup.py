"""De-duplication on real pictures: equal, near, alike; the best stays; benchmarks' pictures go."""

import io

import numpy as np
import published_sets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image
from published_sets import picture

from datagen.importers.jsonl import JsonlSettings
from datagen.importers.uno_1m import Uno1mSettings
from datagen.published_scores import PublishedScoresConfig
from filters.benchmark_images import BenchmarkImages
from filters.dedup import DedupConfig
from filters.fingerprint import FingerprintConfig
from filters.matches import match_examples, read_matches
from filters.near import alike_across, alike_pairs, near_across, near_pairs
from filters.scored import SelectError
from filters.select import SelectConfig
from inline_run import run_inline
from shards.driver_step import Input
from shards.selection import read_selection
from shards.storage import Storage
from shards.tables import table_of, write_tables


def again(data, form, **how):
    sink = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(sink, form, **how)
    return sink.getvalue()


def shrunk(data, side):
    sink = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((side, side)).save(sink, "PNG")
    return sink.getvalue()


def write_set(root, targets):
    """A set of one reference each, with these targets by instruction."""
    rows = []
    for number, (name, data) in enumerate(targets.items()):
        files = {f"{name}_in.png": picture(90_000 + number), f"{name}_out.png": data}
        published_sets.write_files(root, files)
        rows.append({"instruction": name, "input_images": list(files)[:1], "output_image": list(files)[1]})
    published_sets.write_jsonl(root / "x.jsonl", rows)
    return JsonlSettings(path=str(root))


def as_input(made):
    return Input(storage=made.storage, manifest=made.manifest)


def fingerprints(out, made, kinds=("phash",)):
    settings = FingerprintConfig(kinds=kinds)
    parents = {"input": [made.manifest.directory]}
    prints = run_inline(
        out, settings, name="prints", kind="scores", inputs=[made.storage], parents=parents, opens=False
    )
    return as_input(prints)


def decide(tmp_path, made, settings, **inputs):
    target = made.storage.sibling("chosen")
    result = settings.make({"input": [as_input(made)], **inputs}, target)
    result.books.check("dedup")
    words = {sample.key: sample.instruction for sample in made.samples}
    table = read_selection(target)
    reasons = {words[row["key"]]: row["reason"] for row in table.to_pylist()}
    return reasons, read_matches(target).to_pylist()


@pytest.fixture
def made(tmp_path):
    base = picture(1)
    targets = {
        "one": base,
        "equal": base,
        "jpeg": again(base, "JPEG", quality=80),
        "small": shrunk(base, 270),
        "other": picture(2),
    }
    return run_inline(tmp_path / "out", write_set(tmp_path / "set", targets), name="base")


def test_equal_bytes_are_found_without_fingerprints(tmp_path, made):
    reasons, matches = decide(tmp_path, made, DedupConfig())
    assert sorted([reasons["one"], reasons["equal"]]) == ["", "duplicate"]
    assert [reasons[name] for name in ("jpeg", "small", "other")] == ["", "", ""]
    assert len(matches) == 1


@pytest.mark.parametrize("kind", ["phash", "embedding"])
def test_near_pictures_become_one(tmp_path, made, kind):
    prints = fingerprints(tmp_path / "out", made, (kind,))
    reasons, _ = decide(tmp_path, made, DedupConfig(), prints=[prints])
    assert reasons["other"] == ""
    kept = [name for name in ("one", "equal", "jpeg", "small") if reasons[name] == ""]
    assert len(kept) == 1
    assert set(reasons.values()) <= {"", "duplicate", "near_duplicate"}


def test_keys_are_looked_up_once_however_many_shards_hold_them(tmp_path, monkeypatch):
    made = run_inline(
        tmp_path / "out",
        write_set(tmp_path / "set", {f"n{n}": picture(n) for n in range(6)}),
        name="base",
        shard_size=1,
    )
    assert len(made.manifest.shards) == 6
    prints = fingerprints(tmp_path / "out", made)
    looked_up = []
    for name in ("index_in", "is_in"):
        find = getattr(pc, name)
        monkeypatch.setattr(
            pc, name, lambda rows, value_set, find=find: looked_up.append(rows) or find(rows, value_set)
        )
    reasons, _ = decide(tmp_path, made, DedupConfig(), prints=[prints])
    assert set(reasons.values()) == {""}
    assert len(looked_up) == 2  # of the index, of the fingerprints: each hashes all keys


def test_the_best_by_a_score_is_kept(tmp_path):
    labels = published_sets.uno_1m(tmp_path / "set", splits=(1,), pairs=4)
    members = {label["img_path1"]: picture(50 + n) for n, label in enumerate(labels)}
    members |= {label["img_path2"]: picture(9) for label in labels[1:]}
    members |= {labels[0]["img_path2"]: picture(8)}
    published_sets.write_tar(tmp_path / "set/images/split1.tar.gz", members)
    made = run_inline(tmp_path / "out", Uno1mSettings(path=str(tmp_path / "set")), name="base")
    scores = run_inline(
        tmp_path / "out",
        PublishedScoresConfig(),
        name="scores",
        kind="scores",
        inputs=[made.storage],
        parents={"input": [made.manifest.directory]},
        opens=False,
    )
    reasons, _ = decide(tmp_path, made, DedupConfig(order=("uno",)), scores=[as_input(scores)])
    kept = [name for name, reason in reasons.items() if reason == ""]
    assert kept == ["a vase 1-0 on a beach", "a vase 1-3 on a beach"]  # 1.0, unreadable and 4.0 were one
    with pytest.raises(SelectError, match=r"expected fingerprints, got .*uno"):
        decide(tmp_path, made, DedupConfig(), prints=[as_input(scores)])
    target = made.storage.sibling("selected")
    policy = SelectConfig(min_scores={"uno": 2})
    result = policy.make({"input": [as_input(made)], "scores": [as_input(scores)]}, target)
    assert result.books.made == 2
    assert result.books.reasons == {"uno < 2": 1, "uno unreadable": 1}


def test_the_first_score_counts_before_the_second_and_an_unreadable_one_last(tmp_path):
    keys = pa.array([f"k{number}" for number in range(5)])
    (tmp_path / "scores").mkdir()
    for name, values in {"a": [1, 3, 3, None, 3], "b": [9, 1, 2, 9, None]}.items():
        rows = [
            {"key": key, "reference": -1, "candidate": -1, "probabilities": [], "mode": None,
             "expected": value, "label_mass": 1.0, "status": "unreadable" if value is None else "ok"}
            for key, value in zip(keys.to_pylist(), values, strict=True)
        ]  # fmt: skip
        write_tables([table_of(rows)], tmp_path / f"scores/{name}.parquet")
    rank = DedupConfig(order=("a", "b"))._better(keys, [Storage(str(tmp_path))])
    assert rank.tolist() == [3, 1, 0, 4, 2]


def test_pictures_of_a_benchmark_are_found_and_told(tmp_path, made):
    bench = {"same": picture(2), "far": picture(77)}
    benchmark = run_inline(tmp_path / "out", write_set(tmp_path / "bench", bench), name="bench")
    reasons, matches = decide(tmp_path, made, DedupConfig(), against=[as_input(benchmark)])
    assert reasons["other"] == "contaminated"
    words = {sample.key: sample.instruction for sample in benchmark.samples}
    told = {(words[row["other"]], row["other_image"], row["how"]) for row in matches if row["how"] == "exact"}
    assert ("same", -1, "exact") in told
    # a reference of both sets is the same picture by its bytes: that is contamination too
    assert reasons["one"] == "contaminated"


def test_near_pictures_of_a_benchmark_are_found(tmp_path, made):
    bench = {"recoded": again(picture(2), "JPEG", quality=85)}
    settings = write_set(tmp_path / "bench", bench)
    published_sets.write_files(tmp_path / "bench", {"recoded_in.png": picture(123_456)})
    benchmark = run_inline(tmp_path / "out", settings, name="bench")
    inputs = {
        "prints": [fingerprints(tmp_path / "out", made)],
        "against": [fingerprints(tmp_path / "out", benchmark)],
    }
    reasons, matches = decide(tmp_path, made, DedupConfig(), **inputs)
    assert [name for name, reason in reasons.items() if reason == "contaminated"] == ["other"]
    assert [row["how"] for row in matches if row["other_image"] == -1 and row["image"] == -1][:1] == ["phash"]


def test_what_went_is_told_with_what_it_is_like(tmp_path, made):
    benchmark = run_inline(
        tmp_path / "out", write_set(tmp_path / "bench", {"same": picture(2)}), name="bench"
    )
    published_sets.write_files(tmp_path / "folder", {"eval.png": picture(90_002)})
    settings = DedupConfig(benchmarks={"eval": str(tmp_path / "folder")})
    decide(tmp_path, made, settings, against=[as_input(benchmark)])
    keys = {sample.instruction: sample.key for sample in made.samples}
    theirs = benchmark.samples[0].key
    told = match_examples(made.storage.sibling("chosen"), ["contaminated", "duplicate"], 9)
    assert set(told["contaminated"]) == {
        (keys["one"], f"image 1 is the benchmark's image 1 of {theirs} (exact)"),
        (keys["other"], f"target is the benchmark's target of {theirs} (exact)"),
        (keys["jpeg"], "image 1 is the benchmark's eval.png (exact)"),
    }
    assert told["duplicate"] == ()
    decide(tmp_path, made, DedupConfig())
    kept, gone = sorted([keys["one"], keys["equal"]], key=lambda key: key in told_of(made))
    told = match_examples(made.storage.sibling("chosen"), ["contaminated", "duplicate"], 9)
    assert told == {"contaminated": (), "duplicate": ((gone, f"as {kept}, which was better (exact)"),)}
    assert match_examples(made.storage.sibling("chosen"), ["duplicate"], 0) == {"duplicate": ()}


def told_of(made):
    """Keys of those that went."""
    return set(read_matches(made.storage.sibling("chosen")).column("key").to_pylist())


def test_bands_find_the_same_pairs_as_comparing_each_with_each():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 1 << 63, 300, dtype=np.uint64)
    flips = [np.uint64(1) << np.uint64(bit) for bit in random.integers(0, 63, 300)]
    hashes = np.concatenate([hashes, hashes ^ np.array(flips)])
    for distance in (0, 3, 5):
        slow = {
            (i, j)
            for i in range(len(hashes))
            for j in range(i + 1, len(hashes))
            if int(np.bitwise_count(hashes[i] ^ hashes[j])) <= distance
        }
        assert {tuple(pair) for pair in near_pairs(hashes, distance).tolist()} == slow


def test_a_search_in_blocks_finds_what_comparing_each_with_each_finds(monkeypatch):
    monkeypatch.setattr("filters.near.BLOCK", 7)
    random = np.random.default_rng(1)
    hashes = random.permutation(64)[:50].astype(np.uint64)
    off = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    later = np.triu(np.ones_like(off), 1) > 0
    found = near_pairs(hashes, 2).tolist()
    assert sorted(found) == np.argwhere((off <= 2) & later).tolist()

    angles = random.random(50) * 6.28
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    cosines = vectors @ vectors.T
    assert sorted(alike_pairs(vectors, 0.97).tolist()) == np.argwhere((cosines >= 0.97) & later).tolist()
    mine, theirs = vectors[:30], vectors[30:]
    nearest = cosines[:30, 30:]
    expected = [(n, int(nearest[n].argmax())) for n in range(30) if nearest[n].max() >= 0.97]
    assert alike_across(mine, theirs, 0.97) == expected
    assert 0 < len(expected) < 30


def test_of_two_sets_each_that_is_near_is_found_with_an_equal_one_first():
    random = np.random.default_rng(2)
    mine, theirs = random.integers(0, 1 << 12, (2, 200), dtype=np.uint64)
    off = np.bitwise_count(mine[:, None] ^ theirs[None, :])
    for distance in (0, 1, 2):
        found = dict(near_across(mine, theirs, distance))
        assert sorted(found) == np.flatnonzero(off.min(axis=1) <= distance).tolist()
        assert all(off[one, other] <= distance for one, other in found.items())
        assert all(off[one, found[one]] == 0 for one in np.flatnonzero(off.min(axis=1) == 0))


def test_no_samples_are_no_error():
    assert near_pairs(np.empty(0, dtype=np.uint64), 4).tolist() == []
    assert pa.array([]).to_pylist() == []


def test_a_folder_or_a_parquet_of_benchmark_pictures_is_looked_for(tmp_path, made, monkeypatch):
    published_sets.write_files(tmp_path / "bench", {"images/a.jpg": again(picture(2), "JPEG", quality=85)})
    cells = pa.table({"input_images": [[{"bytes": picture(90_000), "path": None}]], "key": ["k"]})
    pq.write_table(cells, tmp_path / "bench/test.parquet")
    monkeypatch.setenv("BENCH", str(tmp_path / "bench"))
    prints = fingerprints(tmp_path / "out", made)
    settings = DedupConfig(benchmarks={"eval": "$BENCH"})
    reasons, matches = decide(tmp_path, made, settings, prints=[prints])
    assert reasons["one"] == reasons["other"] == "contaminated"
    assert {row["other"] for row in matches} >= {"images/a.jpg", "test.parquet:0:input_images"}
    assert DedupConfig(benchmarks={"eval": "/nowhere"}).missing()
    assert settings.computed()["benchmarks"]["eval"] is not None


def vast(data):
    """A JPEG whose header says 65,000 pixels a side."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + (65_000).to_bytes(2, "big") * 2 + data[at + 4 :]


@pytest.mark.parametrize("broken", [lambda _: b"no picture", vast, lambda data: data[:200]])
def test_a_benchmark_s_file_that_is_no_picture_has_its_bytes_only(tmp_path, broken):
    whole = again(picture(1), "JPEG")
    (tmp_path / "a.jpg").write_bytes(broken(whole))
    (tmp_path / "b.jpg").write_bytes(whole)
    names, prints = BenchmarkImages(str(tmp_path)).prints(["phash"])
    assert names.to_pylist() == ["a.jpg", "b.jpg"]
    assert (prints["exact"].sample.tolist(), prints["phash"].sample.tolist()) == ([0, 1], [1])
