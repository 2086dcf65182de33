"""A training: the runner, its engine, loaders and validation, resuming, and what may be promised of its numbers."""
