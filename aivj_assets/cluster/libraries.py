"""What decides a clustering's last bits beside the rows: kept with each version."""

from __future__ import annotations

from importlib.metadata import version


def library_versions() -> dict[str, str]:
    """Return the versions that decide a clustering's last bits: numpy, scikit-learn and each BLAS that is loaded."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    blas = {
        f"{pool['internal_api']} {pool.get('version') or '?'} ({pool.get('architecture') or '?'})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    return {
        "numpy": version("numpy"),
        "scikit-learn": version("scikit-learn"),
        "blas": ", ".join(sorted(blas)) or "unknown",
        "threads": "1",
        "dtype": "float32",
    }
