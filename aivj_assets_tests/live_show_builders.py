"""A published pack made by hand, and a show's server on it."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from aivj_assets.contracts.audio_style_model import AudioStyleModel, Evidence, Layer, ModelEvaluation
from aivj_assets.contracts.show_log import ActLine, EndLine, PickLine, read_show_log
from aivj_assets.contracts.style import (
    DwellSeconds,
    Energy,
    Selection,
    StyleEntry,
    StyleIndex,
    StylePolicy,
    WaitSeconds,
)
from aivj_assets.layout import (
    AUDIO_STYLE_NAME,
    PUBLISHED_CLUSTERS_NAME,
    STYLE_POLICY_NAME,
    DataRoot,
    style_index_name,
    write_json_atomic,
)
from aivj_assets.show.server import ShowOptions, ShowServer
from aivj_assets_tests.builders import NOW, write_manifest

QUICK = Selection(
    preset_cooldown_seconds=6,
    cluster_cooldown_switches=1,
    min_dwell_seconds=DwellSeconds(calm=2, groove=2, peak=2),
    max_wait_seconds=WaitSeconds(calm=1, groove=1, peak=1),
)
"""A show in which something happens every few seconds."""


def publish_pack(
    root: DataRoot,
    presets: Mapping[str, str | Path | None],
    *,
    pack: str = "pack",
    energy: Energy | None = None,
    selection: Selection = QUICK,
) -> None:
    """Write what a publication leaves: manifest, preset files (a text, a file to copy, None: missing), index, policy.

    Clusters and, unless `energy` is given, tiers take turns.
    """
    manifest = write_manifest(root, pack, list(presets), files=False)
    for listed in manifest.presets:
        path = root.preset_file(listed.rel_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = presets[listed.id]
        if isinstance(content, Path):
            shutil.copyfile(content, path)
        elif content is not None:
            path.write_text(content, encoding="utf-8")
    tiers: tuple[Energy, ...] = ("calm", "groove", "peak")
    entries = [
        StyleEntry(preset_id=name, author_key=f"c0{at % 4}", energy=energy or tiers[at % 3], tags=[])
        for at, name in enumerate(presets)
    ]
    StyleIndex(version="v1", generated_at=NOW, pack=pack, entries=entries).save(
        root.published(pack, style_index_name("v1"))
    )
    policy = StylePolicy(generated_at=NOW, pack=pack, prefer_same_author_chance=0, selection=selection)
    policy.save(root.published(pack, STYLE_POLICY_NAME))
    clusters = [{"id": f"c0{at}", "size": 1, "label": f"style <b>{at}</b>"} for at in range(4)]
    write_json_atomic(root.published(pack, PUBLISHED_CLUSTERS_NAME), {"version": "v0", "clusters": clusters})


def publish_model(root: DataRoot, *, favoured: str, pack: str = "pack") -> Path:
    """Write an audio -> style model that knows one cluster only; returns its path."""
    clusters = [f"c0{at}" for at in range(4)]
    bias = [9.0 if cluster == favoured else -9.0 for cluster in clusters]
    path = root.published(pack, AUDIO_STYLE_NAME)
    AudioStyleModel(
        generated_at=NOW, pack=pack, index_hash="a" * 64, inputs_sha256="b" * 64, inputs=["loudnessMean"], mean=[0],
        scale=[1], clip=5, layers=[Layer(weights=[[0.0]] * 4, bias=bias, activation="identity")], output="softmax",
        clusters=clusters, parameters={}, evidence=Evidence(logs=0, counted={}, left_out={}),
        evaluation=ModelEvaluation(groups=0, judged=0, folds=0, bootstraps=0), published=True, verdict="by hand",
        circular=False,
    ).save(path)  # fmt: skip
    return path


@contextmanager
def serving(options: ShowOptions, port: int = 0) -> Iterator[ShowServer]:
    """Serve until the block ends."""
    with ShowServer(options, port) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


@dataclass
class Answer:
    """What a server said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def parts(self) -> list[Any]:
        """The lines of an NDJSON answer."""
        return [json.loads(line) for line in self.body.splitlines()]


def ask(
    server: ShowServer,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    host: str | None = None,
) -> Answer:
    """Send a request as the show's page would, changed by `headers` (a value "" leaves a header out) and `host`."""
    own = f"127.0.0.1:{server.server_port}"
    sent = {"Host": own if host is None else host}
    if body is not None:
        sent |= {"Origin": f"http://{own}", "Content-Length": str(len(body))}
    sent |= headers or {}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.putrequest("GET" if body is None else "POST", path, skip_host=True)
        for name, value in sent.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def logged(root: DataRoot, pack: str = "pack") -> list[Any]:
    """Return the lines of the newest show's log."""
    logs = sorted(root.shows_dir(pack).glob("*.jsonl"))
    return list(read_show_log(logs[-1])) if logs else []


class OpenShow:
    """A show's page in the browser, its server's data root beside it."""

    def __init__(self, page: Page, root: DataRoot, problems: list[str]) -> None:
        self.page = page
        self.root = root
        self.problems = problems

    def lines(self) -> list[Any]:
        return logged(self.root)

    def picks(self) -> list[PickLine]:
        return [line for line in self.lines() if isinstance(line, PickLine)]

    def ends(self) -> list[EndLine]:
        return [line for line in self.lines() if isinstance(line, EndLine)]

    def acts(self) -> list[ActLine]:
        return [line for line in self.lines() if isinstance(line, ActLine)]

    def play(self) -> None:
        self.page.locator("#play-given").click()
        self.page.locator(".deck.on").first.wait_for(timeout=20_000)

    @staticmethod
    def until(what: Callable[[], Any], timeout_s: float = 20) -> Any:
        """Wait until something is so; returns it."""
        deadline = time.monotonic() + timeout_s
        while not (found := what()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.1)
        return found
