"""Lineages of cluster ids in Dagster: joining, committing, acts of a person, findings for the checks."""
