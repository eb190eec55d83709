"""What the commands of `aivj` do over Dagster's instance of a data root, a module a command."""
