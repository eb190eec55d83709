"""A rehearsal as a whole: sets and odd tracks through the real features and selector, libraries too small for rules."""

from __future__ import annotations

import json
import wave
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.audio_timeline import WINDOW_FEATURES
from aivj_assets.contracts.rehearsal import Rehearsal
from aivj_assets.contracts.show_log import EndLine, PickLine, SessionLine, read_show_log
from aivj_assets.contracts.style import Energy, Selection
from aivj_assets.errors import UserError
from aivj_assets.show.audio.source import Track, read_track, track_of_samples
from aivj_assets.show.generate import generate_set
from aivj_assets.show.rehearsal.figures import Truth
from aivj_assets.show.rehearsal.rehearse import Performance, Played, rehearse, sections_of, write_rehearsal
from aivj_assets.show.rehearsal.verdict import rehearsal_finding
from aivj_assets.show.timeline import analyse
from aivj_assets_tests.rehearsal_builders import entries_of, material_of, performance_of, set_of, write_pictures

RATE_HZ = 8_000


def played(performance: Performance, presets: int = 300, clusters: int = 24, seed: int = 1) -> Played:
    return rehearse(material_of(presets, clusters), performance, seed=seed)


@pytest.mark.parametrize("seed", range(2))
def test_a_generated_set_is_played_without_a_broken_rule_and_closer_to_the_music_than_by_list_or_chance(
    seed: int,
) -> None:
    made = generate_set(180, seed, sample_rate_hz=RATE_HZ)
    track = made.track()
    truth = Truth(sections_of(made.sections), made.beats_s)
    found = played(Performance(track, analyse(track), truth), seed=seed).rehearsal
    ours, others = found.figures("selector"), [found.figures("listOrder"), found.figures("random")]
    assert found.violations == []
    assert (ours.violation_count, ours.relaxed_picks) == (0, 0)
    assert rehearsal_finding(found).passed
    assert ours.picks >= 6
    assert ours.tier_match_fraction is not None
    for other in others:
        assert other.tier_match_fraction is not None
        assert ours.tier_match_fraction > other.tier_match_fraction
        assert other.violation_count > 0
    assert [section.name for section in found.sections] == [section.name for section in made.sections]


def test_half_an_hour_is_clean_and_covers_the_library_in_a_small_folder(tmp_path: Path) -> None:
    names = [entry.preset_id for entry in entries_of(300, 24)]
    material = replace(material_of(), frames=write_pictures(tmp_path / "frames", names))
    long = performance_of(set_of(30))
    facts = write_rehearsal(tmp_path / "made", material, long, rehearse(material, long, seed=1))
    ours = facts.figures("selector")
    assert (ours.violation_count, ours.relaxed_picks) == (0, 0)
    assert ours.cluster_coverage_fraction == 1
    assert ours.presets_shown > 0.3 * 300
    assert (ours.repeats_within_cooldown, ours.immediate_cluster_repeats) == (0, 0)
    assert ours.on_beat_fraction is not None
    assert ours.on_beat_fraction > 0.5
    assert facts.page_bytes < 500_000
    assert facts.folder_bytes < 3_000_000


def test_a_seed_says_what_is_picked() -> None:
    performance = performance_of(set_of(6))

    def picks(seed: int) -> list[tuple[float, str]]:
        return [(shown.time_s, shown.preset_id) for shown in played(performance, seed=seed).shown["selector"]]

    assert picks(1) == picks(1) != picks(2)


def test_a_published_model_is_heard_with_the_tier_and_named_in_the_log() -> None:
    asked: list[tuple[set[str], str]] = []

    def likes_c00(features: Mapping[str, float], tier: Energy) -> dict[str, float]:
        asked.append((set(features), tier))
        return {"c00": 0.9, **{f"c{number:02d}": 0.1 / 23 for number in range(1, 24)}}

    performance = performance_of(set_of(10))
    plain, told = material_of(), replace(material_of(), model=likes_c00, model_hash="b" * 64)
    by_rule, by_model = rehearse(plain, performance, seed=1), rehearse(told, performance, seed=1)

    def picks_of_c00(made: Played) -> int:
        return sum(one.cluster == "c00" for one in made.shown["selector"])

    assert picks_of_c00(by_model) > 2 * picks_of_c00(by_rule)
    assert by_model.rehearsal.violations == []
    assert len(asked) == performance.timeline.rows
    assert asked[0] == (set(WINDOW_FEATURES), "calm")
    session = by_model.lines[0]
    assert isinstance(session, SessionLine)
    assert session.model_hash == by_model.rehearsal.model_hash == "b" * 64


def wav(path: Path, samples: np.ndarray, width: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())
    return path


def odd_tracks(folder: Path) -> dict[str, Track]:
    rng = np.random.default_rng(3)
    noise = rng.uniform(-0.5, 0.5, 60 * RATE_HZ).astype(np.float32)
    broken = noise.copy()
    broken[RATE_HZ : 30 * RATE_HZ] = np.nan
    return {
        "silence": track_of_samples(np.zeros(60 * RATE_HZ, np.float32), RATE_HZ, "silence"),
        "noise": track_of_samples(noise, RATE_HZ, "noise"),
        "no numbers": track_of_samples(broken, RATE_HZ, "no numbers"),
        "8-bit mono": read_track(wav(folder / "eight.wav", (noise * 127 + 128).astype(np.uint8), 1)),
        "5 s": track_of_samples(noise[: 5 * RATE_HZ], RATE_HZ, "5 s"),
        "one row": track_of_samples(noise[: RATE_HZ // 20], RATE_HZ, "one row"),
    }


@pytest.mark.parametrize("name", ["silence", "noise", "no numbers", "8-bit mono", "5 s", "one row"])
def test_odd_tracks_are_rehearsed_like_any_other(tmp_path: Path, name: str) -> None:
    track = odd_tracks(tmp_path)[name]
    performance = Performance(track, analyse(track))
    material = material_of(30, 6)
    made = rehearse(material, performance, seed=1)
    facts = write_rehearsal(tmp_path / "made", material, performance, made)
    assert facts.violations == []
    ours = facts.figures("selector")
    assert ours.picks == (1 if track.duration_s <= 5 else ours.picks) >= 1
    assert (tmp_path / "made" / "index.html").stat().st_size == facts.page_bytes > 10_000
    assert bool(facts.track.warnings) == (name == "no numbers")


def test_one_preset_stays_on_screen_all_the_time(tmp_path: Path) -> None:
    performance = performance_of(set_of(2))
    made = played(performance, 1, 1)
    assert [one.preset_id for one in made.shown["selector"]] == ["p0000"]
    assert made.rehearsal.violations == []
    write_rehearsal(tmp_path, material_of(1, 1), performance, made)
    assert [line.dwell_s for line in read_show_log(tmp_path / "picks.jsonl") if isinstance(line, EndLine)] == [119.95]


def test_one_cluster_gives_way_by_its_cooldown_and_breaks_no_rule() -> None:
    found = played(performance_of(set_of(4)), 60, 1).rehearsal
    ours = found.figures("selector")
    assert found.violations == []
    assert ours.relaxed == {"clusterCooldown": ours.picks - 1}
    # Fewer than 300 presets: what rules leave is said, and is no failure.
    assert rehearsal_finding(found).passed


def test_a_library_of_300_whose_rules_give_way_often_is_not_clean() -> None:
    strict = Selection.model_validate({"clusterCooldownSwitches": 24})
    found = rehearse(material_of(300, 24, selection=strict), performance_of(set_of(10)), seed=1).rehearsal
    finding = rehearsal_finding(found)
    assert found.violations == []
    assert not finding.passed
    assert "more than 1% of 300 presets" in finding.detail


def test_nothing_to_show_is_one_line() -> None:
    performance = performance_of([("calm", 10.0)])
    for material, said in (
        (replace(material_of(), entries=[]), "publish the pack"),
        (replace(material_of(3, 1), blacklist={entry.preset_id for entry in entries_of(3, 1)}), "blacklisted"),
    ):
        with pytest.raises(UserError, match=said) as refused:
            rehearse(material, performance, seed=1)
        assert "\n" not in str(refused.value)


def test_what_is_blacklisted_is_shown_by_nobody() -> None:
    bad = {entry.preset_id for entry in entries_of(30, 6)[::2]}
    made = rehearse(replace(material_of(30, 6), blacklist=bad), performance_of(set_of(6)), seed=1)
    for shown in made.shown.values():
        assert len(shown) > 10
        assert not bad & {one.preset_id for one in shown}


def test_the_folder_holds_the_log_the_apps_lines_and_the_figures(tmp_path: Path) -> None:
    names = [entry.preset_id for entry in entries_of(60, 6)]
    material = replace(
        material_of(60, 6), frames=write_pictures(tmp_path / "frames", names), motion=dict.fromkeys(names, 0.14),
        quality_tiers=dict.fromkeys(names, "strict"),
    )  # fmt: skip
    performance = performance_of(set_of(4))
    told: list[str] = []
    made = rehearse(material, performance, seed=7, progress=lambda stage, _done, _all: told.append(stage))
    facts = write_rehearsal(
        tmp_path / "made", material, performance, made, progress=lambda stage, _done, _all: told.append(stage)
    )
    folder = tmp_path / "made"
    session, *lines = read_show_log(folder / "picks.jsonl")
    assert isinstance(session, SessionLine)
    assert (session.source, session.seed, session.index_hash, session.pack) == ("rehearsal", 7, "a" * 64, "pack")
    picks = [line for line in lines if isinstance(line, PickLine)]
    ends = [line for line in lines if isinstance(line, EndLine)]
    assert len(picks) == len(ends) == facts.figures("selector").picks
    assert ends[-1].ended_by == "stop"
    assert all(set(pick.features) == set(json.loads(pick.model_dump_json())["features"]) for pick in picks)
    selection_log = (folder / "selection.log").read_text(encoding="utf-8").splitlines()
    assert selection_log == [f"selected preset {pick.preset_id} (aivj-style) [m=0.14] [tier=strict]" for pick in picks]
    assert Rehearsal.load(folder / "rehearsal.json") == facts
    assert (facts.without_picture, facts.video, facts.video_note) == (0, None, None)
    assert {"picks", "pictures"} <= set(told)
    # Presets without a readable frame are counted, and leave an empty place.
    for path in material.frames[picks[0].preset_id]:
        path.write_bytes(b"no picture")
    again = write_rehearsal(tmp_path / "again", material, performance, made)
    assert again.without_picture == 1
