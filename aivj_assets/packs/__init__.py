"""Manifests: importing presets, hygiene, duplicates."""
