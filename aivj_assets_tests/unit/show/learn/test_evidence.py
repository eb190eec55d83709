"""What counts of a show's log, and what is counted out with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.audio_timeline import TrackFacts
from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.show_log import ActLine, EndLine, PickLine, SessionLine, show_lines
from aivj_assets.show.learn import evidence
from aivj_assets.show.learn.evidence import Logs, of_known_clusters, read_logs
from aivj_assets_tests.show_logs import Show, taste_of_audio

PACK = "pack"


def session(**more: Any) -> SessionLine:
    facts = TrackFacts(name="a.wav", duration_s=60, sample_rate_hz=8000, channels=1, sha256="b" * 64)
    fields = {"source": "show", "started_at": "x", "pack": PACK, "index_hash": "a" * 64, "seed": 1, "track": facts}
    return SessionLine(**(fields | more))


def pick(number: int, time_s: float, cluster: str = "c00") -> PickLine:
    return PickLine(
        number=number, time_s=time_s, tier="groove", features={"lowMean": 0.5}, candidate_count=1, candidates=[],
        preset_id=f"p{number}", cluster=cluster, energy="groove", probability=1, reason="bar", index_hash="a" * 64,
    )  # fmt: skip


def act(number: int, name: Any) -> ActLine:
    return ActLine(time_s=0, act=name, preset_id=f"p{number}")


def end(number: int, dwell_s: float, ended_by: Any, held_s: float = 0) -> EndLine:
    return EndLine(
        number=number,
        time_s=0,
        preset_id=f"p{number}",
        cluster="c00",
        dwell_s=dwell_s,
        ended_by=ended_by,
        held_s=held_s,
    )


def read(tmp_path: Path, *lines: ContractModel, text: str | None = None) -> Logs:
    (tmp_path / "a.jsonl").write_text(show_lines(lines) if text is None else text, encoding="utf-8")
    return read_logs(tmp_path.glob("*.jsonl"), PACK)


def test_a_skip_says_no_the_louder_the_sooner_and_a_favourite_says_yes(tmp_path: Path) -> None:
    found = read(
        tmp_path, session(), pick(0, 0), end(0, 1, "skip"), pick(1, 1), end(1, 17, "skip"), pick(2, 18),
        act(2, "favourite"), end(2, 20, "switch"), pick(3, 40), end(3, 60, "section", held_s=30),
    )  # fmt: skip
    assert [pair.liked for pair in found.judged] == [False, False, True, True]
    soon, late = (pair.weight for pair in found.judged[:2])
    assert soon == pytest.approx(2 * late)
    assert found.judged[0].group == "sha256:" + "b" * 64
    assert found.left_out == {}


@pytest.mark.parametrize("ended_by", ["switch", "section", "tier", "stop", "failed"])
def test_what_nobody_judged_is_censored_and_never_liked(tmp_path: Path, ended_by: str) -> None:
    found = read(tmp_path, session(), pick(0, 0), end(0, 60, ended_by))
    assert found.judged == []
    assert found.left_out == {evidence.CENSORED.format(ended_by): 1}


@pytest.mark.parametrize(
    ("acts", "dwell_s", "liked", "reason"),
    [
        (["favourite"], 3, True, evidence.ENOUGH),
        (["hold", "release"], 3, True, evidence.ENOUGH),
        (["favourite", "unfavourite"], 3, False, None),
        (["blacklist"], 1, None, evidence.BLACKLISTED),
        ([], 120, None, evidence.LATE_SKIP),
    ],
)
def test_a_skip_is_read_with_what_was_said_before(
    tmp_path: Path, acts: list[str], dwell_s: float, liked: bool | None, reason: str | None
) -> None:
    found = read(tmp_path, session(), pick(0, 0), *(act(0, name) for name in acts), end(0, dwell_s, "skip"))
    assert [pair.liked for pair in found.judged] == ([] if liked is None else [liked])
    assert found.left_out == ({} if reason is None else {reason: 1})


def test_torn_and_malformed_lines_are_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    good = show_lines([session(), pick(0, 0), end(0, 1, "skip")])
    broken = json.loads(show_lines([pick(1, 1)]))
    broken["features"] = {"lowMean": None}
    more = show_lines([end(1, 1, "skip"), act(9, "favourite"), pick(2, 2), act(2, "favourite")])
    found = read(tmp_path, text=f"{good}{json.dumps(broken)}\n{{]\n{more}" + '{"kind":"end","numb')
    assert [(pair.preset_id, pair.liked) for pair in found.judged] == [("p0", False), ("p2", True)]
    assert found.left_out == {
        evidence.NOT_AGREED: 1, evidence.NOT_JSON: 1, evidence.NO_PICK: 1, evidence.ELSEWHERE: 1, evidence.TORN: 1
    }  # fmt: skip


def test_rehearsals_other_packs_copies_and_headless_logs_tell_nothing(tmp_path: Path) -> None:
    show = Show(["c00"], taste_of_audio(1), picks=3)
    show.save(tmp_path)
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "track-0-0.jsonl").read_bytes())
    Show(["c00"], None, track="r", source="rehearsal", picks=3).save(tmp_path)
    Show(["c00"], None, track="o", pack="other", picks=3).save(tmp_path)
    (tmp_path / "headless.jsonl").write_text(show_lines([pick(0, 0), end(0, 1, "skip")]), encoding="utf-8")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\0\0\n")
    found = read_logs(tmp_path.glob("*.jsonl"), PACK)
    assert found.read == 1
    for reason in (evidence.REHEARSAL, evidence.OTHER_PACK, evidence.COPY, evidence.NOT_JSON):
        assert found.left_out[reason] == 1
    assert found.left_out[evidence.NO_SESSION] == 2


def test_clusters_that_are_gone_are_counted_out(tmp_path: Path) -> None:
    found = read(tmp_path, session(), pick(0, 0, "c77"), end(0, 1, "skip"), pick(1, 0), end(1, 1, "skip"))
    assert [pair.cluster for pair in of_known_clusters(found.judged, ["c00"], found.left_out)] == ["c00"]
    assert found.left_out == {evidence.UNKNOWN_CLUSTER: 1}
