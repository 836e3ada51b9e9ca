"""Vendored pictures and tables of the embedded catalogue; tools/ makes them again, NOTICE has their licences."""
