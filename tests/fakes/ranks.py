"""Programs on several ranks, as torchrun starts them."""

import socket
from contextlib import ExitStack, closing, contextmanager

from programs import Program


@contextmanager
def started(*command, ranks):
    """The programs of a command on several ranks, as torchrun starts it."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Program(*command, env=shared | {"OMP_NUM_THREADS": "1", "RANK": str(r), "LOCAL_RANK": str(r)})
            )
            for r in range(ranks)
        ]


def run(*command, ranks):
    with started(*command, ranks=ranks) as programs:
        assert [program.status() for program in programs] == [0] * ranks, said(programs)


def said(programs):
    return "\n".join(program.said() for program in programs)


def train(recipe, ranks):
    run("-m", "train.main", recipe, ranks=ranks)
