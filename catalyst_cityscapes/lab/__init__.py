"""The lab: measuring what a recipe does, comparing two, and training arms against each other with paired seeds."""
