"""Samples of every cluster that a person reviews."""
