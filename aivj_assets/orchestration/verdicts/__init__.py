"""Verdicts of persons: taken in, kept in the lineage, and what follows from them."""
