"""The show: what is heard, which preset comes next, the proof that it behaves, and what it learns."""
