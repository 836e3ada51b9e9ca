"""Hypothesis for all tests: the same examples every time, and no clock, as other work shares the cores."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
