"""Recipe files from a table: models x crops x lengths x processes."""
