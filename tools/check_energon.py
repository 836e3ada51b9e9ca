"""Has megatron-energon read an export, in order and by name, and compares every member with the tars.

`check_energon.py EXPORT` ends with 1 where one differs.

Needs megatron-energon, in the environment that `make test-energon` makes.
"""

import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from megatron.energon import (
    Cooker,
    DefaultTaskEncoder,
    Sample,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_loader,
    get_train_dataset,
    stateless,
)
from megatron.energon.cache.file_store import WebdatasetFileStore
from megatron.energon.epathlib import EPath


@edataclass
class Members(Sample):
    """A sample's members as bytes."""

    data: dict


@stateless
def cook(raw: dict) -> Members:
    """All members, undecoded."""
    data = {name: value for name, value in raw.items() if not name.startswith("__")}
    return Members(**basic_sample_keys(raw), data=data)


class Encoder(DefaultTaskEncoder):
    """Hands members on."""

    decoder = None
    cookers = (Cooker(cook),)

    def batch(self, samples: list) -> list:
        """A list as it is."""
        return samples


def read_in_order(export: Path) -> dict[str, bytes]:
    """All members by name, as the training loader finds them: by each tar's list of offsets."""
    dataset = get_train_dataset(
        export,
        batch_size=1,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        task_encoder=Encoder(),
        repeat=False,
    )
    return {
        f"{sample.__key__.rpartition('/')[2]}.{name}": bytes(data)
        for batch in get_loader(dataset)
        for sample in batch
        for name, data in sample.data.items()
    }


def read_by_name(export: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The members of these names, as energon's file store finds them: by its table of parts."""
    store = WebdatasetFileStore(EPath(export))
    return {name: bytes(store[name][0]) for name in names}


def written(export: Path) -> dict[str, bytes]:
    """All members by name, as Python's tarfile finds them."""
    members = {}
    for path in sorted(export.glob("shards/*.tar")):
        with tarfile.open(path) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}
    return members


def main(export: Path) -> None:
    """Read, compare, tell."""
    expected = written(export)
    for how, read in (("in order", read_in_order(export)), ("by name", read_by_name(export, expected))):
        if read != expected:
            same = sum(read.get(name) == data for name, data in expected.items())
            sys.exit(f"{export}: read {how}: expected {len(expected)} members as written, got {same}")
    print(f"{export}: energon reads {len(expected)} members, each as it was written")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
