"""Why an entry of a source becomes no sample."""


class UnusableError(ValueError):
    """Bad data: it ends as a row of the rejects, never as a crash.

    Attributes:
        reason: a short name to count rejects by, e.g. "too_small".
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
