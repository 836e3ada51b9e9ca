"""Has megatron-energon read an export and compares every member with the tar: `check_energon.py EXPORT`.

Needs `pip install megatron-energon`, in an environment of its own: its botocore is not the one that moto,
which our tests start, can use.
"""

import sys
import tarfile
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


def main(export: Path) -> None:
    """Read, compare, tell."""
    dataset = get_train_dataset(
        export,
        batch_size=1,
        shuffle_buffer_size=None,
        max_samples_per_sequence=None,
        worker_config=WorkerConfig(rank=0, world_size=1, num_workers=0),
        task_encoder=Encoder(),
        repeat=False,
    )
    read = {
        f"{sample.__key__.rpartition('/')[2]}.{name}": bytes(data)
        for batch in get_loader(dataset)
        for sample in batch
        for name, data in sample.data.items()
    }
    written = {}
    for path in sorted(export.glob("shards/*.tar")):
        with tarfile.open(path) as tar:
            written |= {member.name: tar.extractfile(member).read() for member in tar}
    assert read == written, f"{export}: expected {len(written)} members as written, got {len(read)}"
    print(f"{export}: energon reads {len(read)} members, each as it was written")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
