from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivj_assets.contracts.style import ENERGIES
from aivj_assets.errors import UserError
from aivj_assets.style.energy import energy_by_motion, energy_by_title


def test_terciles_of_motion() -> None:
    tiers = energy_by_motion({f"p{number}": number / 100 for number in range(9)})
    assert [tiers.energies[f"p{number}"] for number in range(9)] == ["calm"] * 3 + ["groove"] * 3 + ["peak"] * 3
    assert (tiers.calm_max, tiers.groove_max) == (0.02, 0.05)
    assert tiers.counts == {"calm": 3, "groove": 3, "peak": 3}


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.sampled_from([0.0, 0.01, 0.2, 0.2000001, 0.5, 1.0])))
def test_tiers_are_even_ordered_and_independent_of_order(motion: dict[str, float]) -> None:
    tiers = energy_by_motion(motion)
    assert tiers == energy_by_motion(dict(reversed(motion.items())))
    assert tiers.energies.keys() == motion.keys()
    if len(set(motion.values())) <= 1:
        assert set(tiers.energies.values()) <= {"groove"}
        assert tiers.calm_max is tiers.groove_max is None
        return
    sizes = Counter(tiers.energies.values())
    assert all(abs(sizes[energy] - len(motion) / 3) < 1 for energy in ENERGIES)
    by_rank = [tiers.energies[name] for name in sorted(motion, key=lambda name: (motion[name], name))]
    assert by_rank == sorted(by_rank, key=ENERGIES.index)


@given(st.sets(st.floats(0, 1), min_size=2))
def test_cut_points_alone_tell_the_tier_when_no_two_presets_move_alike(values: set[float]) -> None:
    motion = {str(number): value for number, value in enumerate(values)}
    tiers = energy_by_motion(motion)
    assert tiers.calm_max is not None
    assert tiers.groove_max is not None
    for name, value in motion.items():
        tier = "calm" if value <= tiers.calm_max else "groove" if value <= tiers.groove_max else "peak"
        assert tiers.energies[name] == tier


def test_motion_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="'b'"):
        energy_by_motion({"a": 0.1, "b": float("nan")})


@pytest.mark.parametrize(
    ("title", "energy"),
    [
        ("Slow Drift (ambient mix)", "calm"),
        ("SlowShift Matrix", "calm"),
        ("strobe_explosion 7", "peak"),
        ("HYPER rave", "peak"),
        ("raven", "groove"),
        ("slow explosion", "groove"),
        ("slow dreamy explosion", "calm"),
        ("Reaction Diffusion 2", "groove"),
        ("", "groove"),
        ("日本", "groove"),
    ],
)
def test_energy_from_title_keywords(title: str, energy: str) -> None:
    assert energy_by_title(title) == energy
