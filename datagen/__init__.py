"""Makes samples: importers of published sets, the subject catalogue, the builders, writers and image generators."""
