"""What a person looks at: tables and pictures of scores, the report of a run, samples as seen, demos."""
