"""Fake servers that end with the test that started them."""

from contextlib import ExitStack, contextmanager


@contextmanager
def starting(server, behaviour):
    """A function that starts servers; its arguments are fields of their behaviour."""
    with ExitStack() as stack:
        yield lambda **fields: stack.enter_context(server(behaviour(**fields)))
