"""Makes samples: importers, the subject catalogue, the builders, writers and image generators."""
