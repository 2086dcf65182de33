"""A node of a recipe: what its `_target_` may be, whether its arguments fit, and building it."""
