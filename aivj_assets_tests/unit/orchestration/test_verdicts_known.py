"""When a verdict is asked for again, on lineages that grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aivj_assets.cluster.lineage import found, join
from aivj_assets.cluster.rows import FloatRows
from aivj_assets.cluster.version import Version
from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.orchestration.verdicts.known import cluster_changes
from aivj_assets_tests.lineage_builders import MODEL, PARAMETERS, batch_of, names, style_rows


def grown(*batches: tuple[str, FloatRows]) -> list[Version]:
    """Return a lineage's versions after each batch, (prefix of its presets, their rows)."""
    versions: list[Version] = []
    rows: dict[int, FloatRows] = {}
    held = {}
    for prefix, own in batches:
        batch = batch_of(f"big-{prefix}", names(prefix, len(own)), own)
        if not versions:
            act = found(batch, model=MODEL, parameters=PARAMETERS)
        else:
            joined = join(
                versions[-1], batch, strategy="lineage", open_rows=rows.__getitem__, held=held, model=MODEL,
                parameters=PARAMETERS,
            )  # fmt: skip
            assert joined is not None
            act = joined
        rows[act.version.state.version], held[batch.key] = batch.rows[act.brought], batch.shas
        versions.append(act.version)
    return versions


def asked_again(then: Version, now: Version) -> set[str]:
    return {name for name, change in cluster_changes(then, now).items() if change.why is not None}


def cluster_of(version: Version, styles: Sequence[int], style: int) -> str:
    """Return the cluster in which most of the first presets of a style are."""
    shas = batch_of("big-a", names("a", len(styles)), style_rows(styles, seed=0)).shas
    places = version.places_of(shas)[np.array(styles) == style]
    return cluster_id(int(np.bincount(version.numbers[places]).argmax()))


def test_a_verdict_carries_over_while_few_presets_are_new_and_not_when_a_third_is() -> None:
    styles = [0, 1, 2, 3] * 20
    # Style 0 gets 5 more beside its 20, and then 30.
    versions = grown(
        ("a", style_rows(styles, seed=0)), ("b", style_rows([0] * 5, seed=1)), ("c", style_rows([0] * 30, seed=2))
    )  # fmt: skip
    name = cluster_of(versions[0], styles, 0)
    assert asked_again(versions[0], versions[0]) == set()
    assert asked_again(versions[0], versions[1]) == set()
    assert cluster_changes(versions[0], versions[1])[name].new_fraction == 5 / 25
    assert asked_again(versions[0], versions[2]) == {name}
    assert "64% of its presets are new since" in str(cluster_changes(versions[0], versions[2])[name].why)
    # Judged again after the second batch, the third still brings more than a third.
    assert asked_again(versions[1], versions[2]) == {name}


def test_presets_that_were_embedded_anew_move_the_centre_though_none_is_new() -> None:
    styles = [0, 1, 2, 3] * 20
    rows = style_rows(styles, seed=0)
    moved = rows.copy()
    moved[::4] = style_rows([5] * 20, seed=3) * 0.6 + rows[::4]
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    versions = grown(("a", rows), ("a", moved))
    name = cluster_of(versions[0], styles, 0)
    change = cluster_changes(versions[0], versions[1])[name]
    assert change.new_fraction == 0
    assert "its centre moved since (cosine 0.8" in str(change.why)
    assert asked_again(versions[0], versions[1]) == {name}


def test_the_same_presets_in_another_order_are_no_change() -> None:
    styles = [0, 1, 2, 3] * 20
    (version,) = grown(("a", style_rows(styles, seed=0)))
    changes = cluster_changes(version, version)
    assert {round(change.cosine, 6) for change in changes.values()} == {1.0}
    assert {change.new_fraction for change in changes.values()} == {0.0}
