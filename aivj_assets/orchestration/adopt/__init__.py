"""Taking in what an earlier tool made for a pack."""
