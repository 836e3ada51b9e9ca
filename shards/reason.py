"""Errors with a short name to count by."""

from __future__ import annotations


class ReasonError(Exception):
    """An error that is counted by its reason.

    Both words are its arguments, from which an exception is made again where it comes out of a worker; one
    that cannot be made again would end the worker's pool, as if the worker had died.

    Attributes:
        reason: a short name.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[1])
