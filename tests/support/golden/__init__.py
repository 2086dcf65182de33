"""The official code's numbers and the law of tolerances."""
