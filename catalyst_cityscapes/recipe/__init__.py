"""Recipes: schema, loading with overlays, checked targets, translation from and to the official config format."""
