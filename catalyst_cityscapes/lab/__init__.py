"""The lab: measuring what a recipe does, comparing two, and training arms against each other with paired seeds."""

DESIGNS = ("added", "removed", "path")
"""Of a ladder: each component added to FROM, each removed from TO, all in turn from FROM to TO."""
