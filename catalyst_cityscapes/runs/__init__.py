"""The run folder, all of it: what is written, which checkpoint is newer, what an earlier run leaves, what it ran on."""
