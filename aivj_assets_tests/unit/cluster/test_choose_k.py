import pytest

from aivj_assets.cluster.choose_k import capped_k
from aivj_assets.errors import UserError


@pytest.mark.parametrize(
    ("requested", "n", "k"),
    [(64, 2000, 64), (64, 512, 64), (64, 60, 8), (64, 100, 13), (64, 8, 1), (64, 1, 1), (5, 60, 5), (64, 511, 64)],
)
def test_a_cluster_of_a_small_pack_holds_about_eight_presets(requested: int, n: int, k: int) -> None:
    chosen, reason = capped_k(requested, n)
    assert chosen == k
    assert reason.startswith(f"k {k} ")
    assert reason.endswith(".")


def test_the_reason_tells_a_cap_from_a_wish() -> None:
    assert "as requested" in capped_k(64, 2000)[1]
    assert "instead of the requested 64" in capped_k(64, 60)[1]
    assert "3 different embeddings" in capped_k(64, 60, distinct=3)[1]


def test_k_is_never_more_than_the_distinct_rows() -> None:
    assert capped_k(64, 2000, distinct=7)[0] == 7
    assert capped_k(64, 60, 1, distinct=1)[0] == 1


@pytest.mark.parametrize(("requested", "n", "per_cluster"), [(64, 0, 8), (0, 60, 8), (64, 60, 0)])
def test_nothing_to_cluster_or_a_figure_below_one_is_refused(requested: int, n: int, per_cluster: int) -> None:
    with pytest.raises(UserError):
        capped_k(requested, n, per_cluster)
