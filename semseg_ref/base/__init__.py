"""What every module stands on: errors, files, safe readers, checkpoints, seeds; nothing of a network or a recipe."""
