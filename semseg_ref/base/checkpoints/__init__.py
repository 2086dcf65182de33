"""Checkpoint files: reading, checksum, state dicts, the architecture that weights belong to."""
