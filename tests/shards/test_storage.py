"""Files on a disk and on an S3 server: whole under their names or not there at all."""

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from shards.storage import Storage, StorageError


def test_what_is_written_is_read(storage):
    storage.write("a/b.bin", b"x" * 100_000)
    assert storage.read("a/b.bin") == b"x" * 100_000
    assert storage.exists("a/b.bin")
    assert storage.size("a/b.bin") == 100_000
    assert storage.stat("a/b.bin")[1] > 0
    with storage.open("a/b.bin") as file:
        file.seek(99_990)
        assert file.read(100) == b"x" * 10


def test_an_empty_file_is_a_file(storage):
    storage.write("empty", b"")
    assert storage.read("empty") == b""
    assert storage.size("empty") == 0


def test_writing_again_replaces_the_whole_file(storage):
    storage.write("a", b"long" * 1000)
    storage.write("a", b"short")
    assert storage.read("a") == b"short"


def test_names_are_sorted_and_of_one_folder_alone(storage):
    for name in ("b/2", "b/1", "b/c/3", "d"):
        storage.write(name, b"x")
    assert [name for name in storage.names() if not name.startswith(".")] == ["b", "d"]
    assert storage.names("b") == ["1", "2", "c"]
    assert storage.folders("b") == ["c"]
    assert storage.names("nowhere") == []


def test_what_is_not_there_is_an_error_that_names_it(storage):
    for read in (storage.read, storage.open, storage.size, storage.stat):
        with pytest.raises(StorageError, match=r"nothing\.bin: expected a file"):
            read("nothing.bin")
    assert not storage.exists("nothing.bin")


def test_a_folder_is_no_file(storage):
    storage.write("folder/a", b"x")
    with pytest.raises(StorageError, match="folder: expected a file"):
        storage.stat("folder")
    with pytest.raises(OSError, match="folder"):
        storage.read("folder")


def test_deleting_takes_files_and_folders_and_what_is_not_there(storage):
    storage.write("a/b", b"x")
    storage.write("a/c/d", b"x")
    storage.write("e", b"x")
    for name in ("a/c", "e", "nothing"):
        storage.delete(name)
    assert storage.names("a") == ["b"]
    storage.delete("a")
    assert not storage.exists("a/b")


def test_a_child_is_a_folder_inside(storage):
    child = storage.child("step-01").child("work")
    child.write("a", b"x")
    assert storage.read("step-01/work/a") == b"x"


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd"])
def test_no_name_leads_out_of_the_folder(storage, name):
    for use in (storage.read, storage.child, storage.path, storage.delete, lambda n: storage.write(n, b"")):
        with pytest.raises(StorageError, match="leaves it"):
            use(name)


def test_a_storage_travels_to_a_worker(storage):
    storage.write("a", b"x")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"x"


def test_a_relative_folder_is_the_same_one_for_a_worker_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(Storage("out"))
    monkeypatch.chdir("/")
    pickle.loads(sent).write("a", b"x")
    assert (tmp_path / "out" / "a").read_bytes() == b"x"


def test_an_upload_that_breaks_off_leaves_nothing_under_its_name(storage):
    """/proc/self/mem opens, has no size that could be read, and fails in the middle."""
    with pytest.raises(OSError, match=r"Input/output error|cross-device|Invalid"):
        storage.publish(Path("/proc/self/mem"), "a/b")
    assert not storage.exists("a/b")
    assert storage.names("a") == []


def test_an_upload_whose_end_fails_leaves_the_object_that_was_there(s3_server, monkeypatch):
    """An object store completes an upload or does not; a list of what was taken down must not go with it."""
    storage = Storage(f"s3://bakery/lost?scheme=http&endpoint_override={s3_server}&region=us-east-1")
    storage.write("a", b"old")

    class Lost:
        def write(self, data):
            return len(data)

        def close(self):
            raise OSError("connection lost")

    monkeypatch.setattr(Storage, "_sink", lambda *_: Lost())
    with pytest.raises(OSError, match="connection lost"):
        storage.write("a", b"new")
    assert storage.read("a") == b"old"


def test_a_folder_may_have_a_question_mark_in_its_name(tmp_path):
    Storage(str(tmp_path / "what?")).child("a").write("b", b"x")
    assert (tmp_path / "what?" / "a" / "b").read_bytes() == b"x"
    assert Storage(str(tmp_path / "what?" / "a")).sibling("c").path("d") == str(tmp_path / "what?/c/d")


@pytest.mark.parametrize("uri", ["s3://name:secret@bucket/a", "s3://name:sec/ret@bucket/a", "gs://key@b"])
def test_a_uri_with_a_key_in_it_is_refused_and_not_repeated(uri):
    with pytest.raises(StorageError, match="expected no key in it") as told:
        Storage(uri)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("uri", ["nosuch://a/b", "s3://buck et/%zz"])
def test_a_uri_of_no_known_store_is_an_error_in_words(uri):
    with pytest.raises(StorageError, match="expected a folder or a URI like s3://bucket/prefix"):
        Storage(uri).read("a")


def test_a_new_folder_is_as_durable_as_the_file_in_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("shards.storage._sync", synced.append)
    Storage(str(tmp_path / "out" / "step")).write("shards/0", b"x")
    assert {tmp_path, tmp_path / "out", tmp_path / "out/step", tmp_path / "out/step/shards"} <= set(synced)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    told, replace = [], Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: told.append(Path(f"/proc/self/fd/{file}").readlink()))
    monkeypatch.setattr(Path, "replace", lambda path, to: (told.append("named"), replace(path, to)))
    disk = Storage(str(tmp_path))
    with disk.scratch() as path:
        path.write_bytes(b"x")
        told.clear()
        disk.publish(path, "a")
    assert told == [path, "named", tmp_path]
    told.clear()
    disk.write("b", b"x")
    assert told[1:] == ["named", tmp_path]
    told.clear()
    disk.write("c", b"x", is_durable=False)
    assert told == ["named"]


def test_a_file_of_another_disk_is_copied_whole(disk):
    elsewhere = Path("/proc/version")
    disk.publish(elsewhere, "a/b")
    assert disk.read("a/b") == elsewhere.read_bytes()
    assert disk.names("a") == ["b"]


def test_no_scratch_file_stays_behind(disk):
    with pytest.raises(ZeroDivisionError), disk.scratch() as path:
        path.write_bytes(b"x")
        raise ZeroDivisionError
    disk.write("a", b"x")
    assert disk.names(".tmp") == []


LIMITED = """
import resource, sys
from shards.storage import Storage
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
Storage(sys.argv[1]).write("a", b"new" * 10_000)
"""


def limited(script, *arguments):
    """Run a script whose files cannot grow past what it says: writes fail as on a full disk."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_write_that_does_not_fit_is_an_error_and_the_old_file_stays(disk):
    disk.write("a", b"old")
    ended = limited(LIMITED, disk.uri)
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert disk.read("a") == b"old"
    assert disk.names(".tmp") == []


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="out"):
        Storage(str(tmp_path / "out")).write("a", b"x")


def test_a_name_that_ends_in_gz_stays_the_bytes_it_was(storage):
    storage.write("a.tar.gz", b"as it is")
    assert storage.read("a.tar.gz") == b"as it is"
    assert storage.size("a.tar.gz") == 8


def test_what_is_written_again_keeps_its_size_within_a_kilobyte(storage):
    for text, size in ((b"{}", 1024), (b'{"a": 1}', 1024), (b"1" * 1024, 1024), (b"1" * 1025, 2048)):
        storage.write_again("status.json", text)
        assert storage.size("status.json") == size
        assert storage.read("status.json").rstrip() == text


def test_a_disks_own_error_says_where_and_no_other_is_blamed_on_the_disk(disk):
    for error, notes in ((OSError(errno.ENOSPC, "full"), 1), (ConnectionResetError(104, "gone"), 0)):
        with pytest.raises(OSError) as told, disk.scratch():  # noqa: PT011, the note is what matters
            raise error
        assert len(getattr(told.value, "__notes__", [])) == notes


def test_what_the_disk_was_told_to_begin_with_is_still_read(disk):
    with disk.scratch() as path:
        path.write_bytes(b"x" * 100_000)
        disk.start_writing(path, 0, 50_000)
        disk.start_writing(path, 50_000, 100_000)
        disk.publish(path, "a")
    assert disk.read("a") == b"x" * 100_000
