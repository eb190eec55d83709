"""Presets to frames: browser sessions, the shard loop, resuming."""
