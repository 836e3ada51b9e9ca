"""Vendored pictures and tables of the embedded catalogue; tools/ makes them, NOTICE licenses them."""
