"""What a finished directory comes to, to compare two of them byte for byte."""

import hashlib

from shards.manifest import read_manifest


def digests(storage):
    """sha256 of every file of a finished directory by name; the manifest without what may differ (how and
    how fast it was run)."""
    manifest = read_manifest(storage)
    assert manifest is not None
    files = {name: hashlib.sha256(storage.read(name)).hexdigest() for name in manifest.files}
    facts = (manifest.hash, manifest.shards, manifest.books, manifest.files)
    return files | {"manifest.json": hashlib.sha256(repr(facts).encode()).hexdigest()}


def all_files(storage, folder=""):
    """Names of all files in a folder, at any depth."""
    found = []
    for name in storage.names(folder):
        path = f"{folder}/{name}" if folder else name
        if name in storage.folders(folder):
            found += all_files(storage, path)
        else:
            found.append(path)
    return found
