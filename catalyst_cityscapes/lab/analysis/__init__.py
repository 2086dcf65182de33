"""What came out of a lab: intervals, tests, verdicts, table, charts and page."""
