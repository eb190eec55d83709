"""How a check of one partition at a time is declared."""

import warnings

import dagster as dg


def partitioned_check(
    name: str, *, asset: str, partitions_def: dg.PartitionsDefinition[str], description: str, blocking: bool = False
) -> dg.AssetCheckSpec:
    """Return the spec of a check with partitions."""
    with warnings.catch_warnings():
        # The preview is known: the minor version is pinned and a contract test watches it.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset=asset, blocking=blocking, partitions_def=partitions_def, description=description
        )
