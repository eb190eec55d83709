"""The partitions: a batch of presets, and a pack (one or more batches)."""

import dagster as dg

BATCHES = dg.DynamicPartitionsDefinition(name="batches")
PACKS = dg.DynamicPartitionsDefinition(name="packs")
