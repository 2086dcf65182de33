"""Which components make the gap between two recipes, one at a time."""
