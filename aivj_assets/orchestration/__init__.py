"""All that is Dagster."""
