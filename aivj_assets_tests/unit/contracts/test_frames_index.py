import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from aivj_assets.contracts.frames_index import (
    REASON_CODES,
    FailedRecord,
    FrameMetrics,
    OkRecord,
    count_flags,
    encode_record,
    frame_paths,
    id_hash,
    is_whole_file,
    read_records,
    whole_length,
    write_records,
)
from aivj_assets.errors import UserError
from aivj_assets_tests.builders import failed_record, ok_record, write_frame


def test_lines_have_the_fields_that_the_app_reads() -> None:
    line = json.loads(encode_record(ok_record("p1", "pack", luma=0.25, motion=0.5, fingerprint="f" * 16)))
    assert line == {
        "version": "v0",
        "at": "2026-01-31T12:00:00.000Z",
        "presetId": "p1",
        "relPath": "pack/files/p1.json",
        "filePath": "public/presets/pack/files/p1.json",
        "status": "ok",
        # printf p1 | sha1sum
        "idHash": "b78f576611ec06f9",
        "frames": [f"frames/b7/8f/b78f576611ec06f9/frame-00{number}.webp" for number in range(3)],
        "metrics": {"avgLuma": 0.25, "motion": 0.5},
        "fingerprint": "f" * 16,
    }
    failed = json.loads(encode_record(failed_record("p2", "pack", "watchdog", error_text="slow")))
    assert (failed["status"], failed["reasons"], failed["errorText"]) == ("failed", ["watchdog"], "slow")
    assert not {"quarantined", "timeoutMs"} & set(failed)
    given_up = json.loads(encode_record(failed_record("p2", "pack", "watchdog", quarantined=True, timeout_ms=30_000)))
    assert (given_up["quarantined"], given_up["timeoutMs"]) == (True, 30_000)


def test_frame_paths_count_from_zero() -> None:
    assert frame_paths("abcdef0123456789", 2, "png") == [
        "frames/ab/cd/abcdef0123456789/frame-000.png",
        "frames/ab/cd/abcdef0123456789/frame-001.png",
    ]
    assert len(id_hash("ünï")) == 16


def test_the_last_line_of_a_preset_counts(tmp_path: Path) -> None:
    path = tmp_path / "frames-index.jsonl"
    write_records(path, [failed_record("a", "p"), ok_record("b", "p"), ok_record("a", "p"), failed_record("b", "p")])
    records = read_records(path)
    assert list(records) == ["a", "b"]
    assert isinstance(records["a"], OkRecord)
    assert isinstance(records["b"], FailedRecord)


def test_a_torn_last_line_is_dropped_and_its_length_known(tmp_path: Path) -> None:
    path = tmp_path / "frames-index.jsonl"
    whole, torn = encode_record(ok_record("a", "p")), encode_record(ok_record("b", "p"))[:-1]
    path.write_bytes(whole + torn)
    assert list(read_records(path)) == ["a"]
    assert whole_length(whole + torn) == len(whole)
    assert whole_length(torn) == 0


def test_no_file_and_blank_lines_are_no_records(tmp_path: Path) -> None:
    path = tmp_path / "frames-index.jsonl"
    assert read_records(path) == {}
    path.write_bytes(b"\n" + encode_record(ok_record("a", "p")).replace(b"\n", b"\r\n") + b"\n")
    assert list(read_records(path)) == ["a"]


@pytest.mark.parametrize(
    "line",
    [b"{torn", b"[]", b'{"status":"maybe","presetId":"b"}', b'{"status":"ok","presetId":"b","frames":[]}', b"\xff"],
)
def test_a_broken_line_inside_is_named_by_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "frames-index.jsonl"
    good = encode_record(ok_record("a", "p"))
    path.write_bytes(good + line + b"\n" + good)
    with pytest.raises(UserError, match=r"frames-index\.jsonl line 2 is not as agreed") as raised:
        read_records(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("figures", [{"avg_luma": 1.01}, {"motion": -0.1}, {"avg_luma": float("nan")}])
def test_figures_outside_their_range_are_no_metrics(figures: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FrameMetrics(**({"avg_luma": 0.5, "motion": 0.5} | figures))


def test_a_failed_line_names_a_reason() -> None:
    with pytest.raises(ValidationError):
        FailedRecord(preset_id="a", rel_path="b", file_path="c", reasons=[])
    assert "shader-compile-failed" in REASON_CODES


@pytest.mark.parametrize("text", ["cut \ud83d", "two\nlines \u2028 \x00", "emoji \U0001f600"])
def test_whatever_a_page_says_can_be_read_back(tmp_path: Path, text: str) -> None:
    path = tmp_path / "frames-index.jsonl"
    write_records(path, [failed_record("a", "p", error_text=text), ok_record("b", "p")])
    records = read_records(path)
    assert list(records) == ["a", "b"]
    assert isinstance(records["a"], FailedRecord)
    assert records["a"].error_text == text.replace("\ud83d", "?")


def test_unknown_fields_and_figures_of_other_tools_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "frames-index.jsonl"
    line = json.loads(encode_record(ok_record("a", "p"))) | {"tier": "dark"}
    line["metrics"]["colourfulness"] = 12.5
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    write_records(path, read_records(path).values())
    assert json.loads(path.read_bytes()) == line


def test_flags_are_counted_over_ok_presets_and_survive_a_rewrite(tmp_path: Path) -> None:
    records: list[OkRecord | FailedRecord] = [ok_record(f"p{number}", "pack") for number in range(3)]
    records.append(failed_record("bad", "pack"))
    for record, flags in zip(records, (["black", "flat"], ["flat"], None, None), strict=True):
        if isinstance(record, OkRecord):
            record.metrics.flags = flags
    write_records(tmp_path / "index.jsonl", records)
    read = read_records(tmp_path / "index.jsonl")
    assert count_flags(read.values()) == {"black": 1, "flat": 2, "static": 0}
    assert count_flags([]) == {"black": 0, "flat": 0, "static": 0}


@pytest.mark.parametrize("suffix", ["webp", "png", "jpg"])
def test_an_image_that_was_cut_off_is_told_from_a_whole_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"frame-000.{suffix}"
    assert not is_whole_file(path)
    for side in (1, 8, 64):
        write_frame(path, seed=side, luma=0.5, side=side)
        data = path.read_bytes()
        assert is_whole_file(path)
        path.write_bytes(data + b"\0")
        assert is_whole_file(path)
        # The end of a PNG is a checksum: without its last bytes every decoder still shows the picture.
        for keep in (0, 1, 3, 6, 12, len(data) // 2, len(data) - 10):
            path.write_bytes(data[:keep])
            assert not is_whole_file(path), (side, keep)
