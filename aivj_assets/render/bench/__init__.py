"""Benchmarks of the renderer: speed beside a plain loop, a whole library, a long run."""
