"""Where samples come from: augmentation nodes, the toy city."""
