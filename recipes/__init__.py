"""Recipes as YAML, their schema, the step table, the runner and the command line."""
