"""Energy tiers, the style index and the style policy."""
