"""Vendored weights of the embedded judge; tools/ makes them again."""
