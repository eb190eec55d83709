"""What `aivj bench …` measures with, where it takes Dagster or several rooms."""
