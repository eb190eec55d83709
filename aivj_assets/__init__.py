"""aivj-assets: renders, embeds, clusters, indexes and gates libraries of MilkDrop presets for AI VJs."""
