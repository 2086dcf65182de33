"""What two recipes do differently, in measured effects: distances, facts of a recipe, the comparison, its pictures."""
