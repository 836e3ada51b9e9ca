"""Judges samples and decides: rubrics, judge, selection, calibration, report."""
