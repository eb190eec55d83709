"""The show's server as browsers, foreign pages and broken clients meet it."""

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, sha256_file
from aivj_assets.render.web_engine import PAGE_DIR
from aivj_assets.show.live import tracks
from aivj_assets.show.server import ShowOptions, ShowServer
from aivj_assets_tests.live_show_builders import ask, publish_pack, serving


@pytest.fixture(scope="module")
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: no test here changes what is in it."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path / "data")
    publish_pack(made, {"one": '{"name": "ä"}', "two": None})
    return made


@pytest.fixture(scope="module")
def track(tmp_path: Path) -> Path:
    path = tmp_path / "clicks.wav"
    times = np.arange(8000 * 12) / 8000
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 220 * times) * (times % 0.5 < 0.1), 8000)
    return path


@pytest.fixture(scope="module")
def options(root: DataRoot, tmp_path: Path, track: Path) -> ShowOptions:
    packages = tmp_path / "node_modules"
    (packages / "engine").mkdir(parents=True)
    (packages / "engine" / "main.js").write_text("export {}", encoding="utf-8")
    return ShowOptions(root, "pack", PAGE_DIR, packages, track, 7)


@pytest.fixture(scope="module")
def server(options: ShowOptions) -> Iterator[ShowServer]:
    with serving(options) as running:
        yield running


def test_the_page_gets_the_published_files_with_the_hash_of_the_index(server: ShowServer, root: DataRoot) -> None:
    pack = ask(server, "/api/pack").json
    assert [entry["presetId"] for entry in pack["index"]["entries"]] == ["one", "two"]
    assert pack["indexHash"] == sha256_file(root.published("pack", "aivj-style-index.v1.json"))
    assert pack["selection"]["minDwellSeconds"] == {"calm": 2, "groove": 2, "peak": 2}
    assert pack["clusters"]["c01"] == "style <b>1</b>"
    assert pack["seed"] == 7
    assert pack["given"] == {"name": "clicks.wav", "url": "/audio/given"}


def test_a_preset_comes_with_its_label_and_a_missing_one_with_a_line_that_names_it(server: ShowServer) -> None:
    assert ask(server, "/api/preset?id=one").json == {"label": "Author - one", "text": '{"name": "ä"}'}
    missing = ask(server, "/api/preset?id=two")
    assert missing.status == 400
    assert "pack/files/two.json" in missing.json["error"]
    assert "three" in ask(server, "/api/preset?id=three").json["error"]
    assert ask(server, "/api/preset").status == 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1", ""])
@pytest.mark.parametrize("path", ["/", "/web/show-main.mjs", "/api/pack", "/audio/given"])
def test_a_foreign_name_that_leads_here_gets_nothing(server: ShowServer, host: str, path: str) -> None:
    answer = ask(server, path, host=host.format(port=server.server_port))
    assert answer.status == 403
    assert b"entries" not in answer.body


def test_localhost_is_the_same_server(server: ShowServer) -> None:
    assert ask(server, "/api/pack", host=f"localhost:{server.server_port}").status == 200


def test_a_stage_finds_its_files_under_its_own_name_and_nothing_else(server: ShowServer) -> None:
    host = f"stage-2.localhost:{server.server_port}"
    stage = ask(server, "/stage.html", host=host)
    assert stage.status == 200
    assert "sandbox allow-scripts;" in stage.headers["Content-Security-Policy"]
    assert f"http://{host}/page/" in stage.headers["Content-Security-Policy"]
    assert ask(server, "/page/preset.js", host=host).status == 200
    for path in ("/", "/api/pack", "/api/preset?id=one", "/audio/given"):
        assert ask(server, path, host=host).status in {403, 404}, path


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
@pytest.mark.parametrize("path", ["/api/shows", "/api/shows/x", "/api/track?name=a.wav", "/api/track/given"])
def test_only_the_page_itself_may_send_something(server: ShowServer, origin: str, path: str, root: DataRoot) -> None:
    headers = {"Origin": origin.format(port=server.server_port)}
    assert ask(server, path, body=b"{}", headers=headers).status == 403
    assert not root.shows_dir("pack").exists()


@pytest.mark.parametrize("path", ["/api/pack", "/api/preset?id=one", "/audio/given"])
def test_a_foreign_page_cannot_take_the_answers_in(server: ShowServer, path: str) -> None:
    for site in ("cross-site", "same-site"):
        assert ask(server, path, headers={"Sec-Fetch-Site": site}).status == 403
    assert ask(server, path, headers={"Sec-Fetch-Site": "same-origin"}).status == 200
    assert "Access-Control-Allow-Origin" not in ask(server, path).headers


@pytest.mark.parametrize(
    "path",
    [
        "/web/../server.py",
        "/web/%2e%2e/server.py",
        "/page/..%2f..%2ferrors.py",
        "/web/..%5cserver.py",
        "/node_modules/engine/../../data/public/presets/pack/library-manifest.json",
        "/etc/passwd",
        "/web/",
        "/web/show.html",
        "/page/package.json%00.js",
        "/node_modules/engine",
        "/server.py",
    ],
)
def test_no_path_leads_out_of_the_folders(server: ShowServer, path: str) -> None:
    assert ask(server, path).status == 404


def test_files_run_under_a_policy_and_change_with_the_checkout(server: ShowServer) -> None:
    page = ask(server, "/")
    assert "default-src 'none'; script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-cache"
    module = ask(server, "/node_modules/engine/main.js")
    assert (module.status, module.body) == (200, b"export {}")
    assert module.headers["Content-Type"].startswith("text/javascript")


def test_music_is_heard_part_by_part_and_not_kept(server: ShowServer, track: Path) -> None:
    answer = ask(server, "/api/track?name=..%2Fmy%20set.wav", body=track.read_bytes())
    first, *rows, last = answer.parts
    assert first["track"]["name"] == "my set.wav"
    assert first["track"]["sha256"] == sha256_file(track)
    assert first["rowS"] == 0.05
    assert [part["firstRow"] for part in rows] == [0, 200]
    assert {"timeS", "beat", "loudnessMean"} <= rows[0]["columns"].keys()
    assert sum(len(part["tiers"]) for part in rows) == last["rows"] == pytest.approx(240, abs=2)
    given = ask(server, "/api/track/given", body=b"").parts
    assert given[0]["track"]["name"] == "clicks.wav"
    assert given[1:] == answer.parts[1:]


@pytest.mark.parametrize(("body", "word"), [(b"this is no music" * 9, "no sound"), (b"", "empty")])
def test_a_file_that_is_no_music_is_one_line(server: ShowServer, body: bytes, word: str) -> None:
    answer = ask(server, "/api/track?name=notes.wav", body=body)
    assert answer.status == 400
    assert word in answer.json["error"]
    assert "\n" not in answer.json["error"]


def test_more_than_the_limit_is_refused_before_it_is_read(server: ShowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "MAX_AUDIO_BYTES", 1 << 30)
    answer = ask(server, "/api/track?name=long.wav", body=b"", headers={"Content-Length": str(2 << 30)})
    assert "larger than 1 GiB" in answer.json["error"]
    unknown = ask(server, "/api/track?name=a.wav", body=b"", headers={"Content-Length": "many"})
    assert "length" in unknown.json["error"]


def test_the_given_track_is_sent_in_the_parts_that_a_player_asks_for(server: ShowServer, track: Path) -> None:
    data = track.read_bytes()
    assert ask(server, "/audio/given").body == data
    middle = ask(server, "/audio/given", headers={"Range": "bytes=10-19"})
    assert (middle.status, middle.body) == (206, data[10:20])
    assert middle.headers["Content-Range"] == f"bytes 10-19/{len(data)}"
    assert ask(server, "/audio/given", headers={"Range": "bytes=-5"}).body == data[-5:]
    assert ask(server, "/audio/given", headers={"Range": f"bytes={len(data) - 3}-"}).body == data[-3:]
    assert ask(server, "/audio/given", headers={"Range": f"bytes={len(data)}-"}).status == 416


def test_a_taken_port_is_one_line_that_names_it(options: ShowOptions) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} .*--port"):
            ShowServer(options, port)


def test_the_server_listens_on_this_machine_only(server: ShowServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_a_pack_without_a_publication_or_a_missing_track_is_said_before_anything_opens(
    options: ShowOptions, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="There is no pack 'other'"):
        ShowServer(ShowOptions(options.root, "other", PAGE_DIR, options.node_modules), 0)
    options.root.pack_dir("raw").mkdir()
    with pytest.raises(UserError, match=r"Pack 'raw' is not published.*: aivj run raw"):
        ShowServer(ShowOptions(options.root, "raw", PAGE_DIR, options.node_modules), 0)
    with pytest.raises(UserError, match=r"nothing\.mp3"):
        ShowServer(ShowOptions(options.root, "pack", PAGE_DIR, options.node_modules, tmp_path / "nothing.mp3"), 0)
    publish_pack(options.root, {}, pack="bare")
    with pytest.raises(UserError, match="lists no preset"):
        ShowServer(ShowOptions(options.root, "bare", PAGE_DIR, options.node_modules), 0)
