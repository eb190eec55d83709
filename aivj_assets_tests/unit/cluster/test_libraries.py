import numpy as np

from aivj_assets.cluster.libraries import library_versions


def test_what_decides_the_last_bits_is_named() -> None:
    found = library_versions()
    assert found["numpy"] == np.__version__
    assert found["blas"] != "unknown"
    assert {"scikit-learn", "threads", "dtype"} <= found.keys()
