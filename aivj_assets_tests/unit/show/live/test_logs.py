"""What becomes of the lines that a show's page sends."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.show_log import EndLine, PickLine, read_show_log
from aivj_assets.layout import DataRoot
from aivj_assets.render.web_engine import PAGE_DIR
from aivj_assets.show.server import ShowOptions, ShowServer
from aivj_assets_tests.live_show_builders import Answer, ask, logged, publish_pack, serving

SESSION: dict[str, Any] = {
    "kind": "session", "version": "v0", "source": "show", "startedAt": "2026-01-31T20:00:00.000Z", "pack": "pack",
    "indexHash": "a" * 64, "seed": 1,
    "track": {"name": "set.wav", "durationS": 60, "sampleRateHz": 44100, "channels": 2},
}  # fmt: skip


def pick(number: int) -> dict[str, Any]:
    candidates = [{"presetId": "one", "cluster": "c00", "probability": 1.0}]
    return {
        "kind": "pick", "number": number, "timeS": 10.0 * number, "tier": "calm", "features": {"onsetMean": 0.5},
        "candidateCount": 1, "candidates": candidates, "presetId": "one", "cluster": "c00", "energy": "calm",
        "probability": 1.0, "relaxed": [], "reason": "phrase", "favourite": False, "indexHash": "a" * 64,
    }  # fmt: skip


def ndjson(*lines: Any) -> bytes:
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    publish_pack(made, {"one": "{}"})
    return made


@pytest.fixture
def server(root: DataRoot, tmp_path: Path) -> Iterator[ShowServer]:
    with serving(ShowOptions(root, "pack", PAGE_DIR, tmp_path)) as running:
        yield running


@pytest.fixture
def show(server: ShowServer) -> str:
    answer = ask(server, "/api/shows", body=ndjson(SESSION))
    assert answer.status == 201
    name: str = answer.json["show"]
    return name


def send(server: ShowServer, show: str, first: int | str, *lines: Any) -> Answer:
    return ask(server, f"/api/shows/{show}?from={first}", body=ndjson(*lines))


def test_each_line_is_in_the_file_when_it_is_answered(server: ShowServer, show: str, root: DataRoot) -> None:
    assert send(server, show, 1, pick(0)).json == {"stored": 2}
    assert [line.kind for line in logged(root)] == ["session", "pick"]
    assert send(server, show, 2, pick(1), pick(2)).json == {"stored": 4}
    assert [line.number for line in logged(root) if isinstance(line, PickLine)] == [0, 1, 2]


def test_every_pick_is_also_a_line_of_the_apps_selection_log(server: ShowServer, show: str, root: DataRoot) -> None:
    send(server, show, 1, pick(0), pick(1))
    lines = (root.shows_dir("pack") / f"{show}.log").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["selected preset one (aivj-style)"] * 2


def test_lines_that_come_twice_are_stored_once(server: ShowServer, show: str, root: DataRoot) -> None:
    send(server, show, 1, pick(0), pick(1))
    assert send(server, show, 2, pick(1), pick(2)).json == {"stored": 4}
    assert send(server, show, 1, pick(0)).json == {"stored": 4}
    assert [line.number for line in logged(root) if isinstance(line, PickLine)] == [0, 1, 2]


def test_a_gap_is_refused(server: ShowServer, show: str, root: DataRoot) -> None:
    answer = send(server, show, 3, pick(2))
    assert answer.status == 400
    assert "Line 1 of the show is missing" in answer.json["error"]
    assert len(logged(root)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{not json}\n",
        b"[1, 2]\n",
        b"\xff\xfe\n",
        ndjson({**pick(0), "tier": "loud"}),
        ndjson({**pick(0), "probability": 2}),
        ndjson(pick(0), {"kind": "party"}),
        ndjson(SESSION),
        b"[" * 100_000,
        ndjson(pick(0)).replace(b"0.5", b"NaN"),
    ],
)
def test_lines_not_as_agreed_leave_the_log_as_it_was(
    server: ShowServer, show: str, root: DataRoot, body: bytes
) -> None:
    answer = ask(server, f"/api/shows/{show}?from=1", body=body)
    assert answer.status == 400
    assert "\n" not in answer.json["error"]
    assert len(logged(root)) == 1
    assert send(server, show, 1, pick(0)).json == {"stored": 2}


@pytest.mark.parametrize(
    "session", [{**SESSION, "pack": "other"}, {**SESSION, "source": "rehearsal"}, pick(0), {"kind": "session"}]
)
def test_a_show_begins_with_a_session_of_this_pack(server: ShowServer, root: DataRoot, session: Any) -> None:
    assert ask(server, "/api/shows", body=ndjson(session)).status == 400
    assert logged(root) == []


@pytest.mark.parametrize("name", ["nobody", "..%2f..%2fpack", "%2e%2e", "a/b", ""])
def test_a_show_that_was_not_begun_here_has_no_log(server: ShowServer, show: str, root: DataRoot, name: str) -> None:
    before = sorted(root.path.rglob("*"))
    assert send(server, name, 1, pick(0)).status == 404
    assert sorted(root.path.rglob("*")) == before


@pytest.mark.parametrize("first", ["", "-1", "x", "1e3", "9" * 40])
def test_a_number_that_is_none_is_refused(server: ShowServer, show: str, first: str) -> None:
    assert send(server, show, first, pick(0)).status == 400


def test_shows_that_begin_at_once_have_files_of_their_own(server: ShowServer, root: DataRoot) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(server, "/api/shows", body=ndjson(SESSION)), range(8)))
    names = {answer.json["show"] for answer in answers}
    assert {path.stem for path in root.shows_dir("pack").glob("*.jsonl")} == names
    assert len(names) == 8


def test_a_preset_that_failed_is_told_with_its_reason(server: ShowServer, show: str, root: DataRoot) -> None:
    end = {"kind": "end", "number": 0, "timeS": 1.0, "presetId": "one", "cluster": "c00", "dwellS": 1.0}
    send(server, show, 1, pick(0), {**end, "endedBy": "failed", "heldS": 0, "error": "shader-compile-failed"})
    *_, last = read_show_log(root.shows_dir("pack") / f"{show}.jsonl")
    assert isinstance(last, EndLine)
    assert last.error == "shader-compile-failed"


def test_a_folder_that_cannot_be_written_is_one_line(server: ShowServer, root: DataRoot) -> None:
    place = root.shows_dir("pack")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("in the way", encoding="utf-8")
    answer = ask(server, "/api/shows", body=ndjson(SESSION))
    assert answer.status == 400
    assert "cannot be written" in answer.json["error"]
