"""What is told about a batch: figures, tables, the run record."""
