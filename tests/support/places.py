"""Where things lie: the project, its tests, the official code's numbers."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
PROJECT = TESTS.parent
GOLDENS = TESTS / "goldens"
