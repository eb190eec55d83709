"""The app's own page in place of ours, with its faults; and what a page may reach of the network."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.page_host import PageHost
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.resume import finish_index
from aivj_assets.render.shard import render_shard

pytestmark = pytest.mark.browser

# Stands in for the app: draws one colour and tells its own figures, or does what the preset's text says.
APP_MODULE = """
const behave = {
  hang: () => new Promise(() => {}),
  throw: () => { throw new Error('the app threw'); },
  reload: () => { location.reload(); return new Promise(() => {}); },
  abort: () => ({ ok: false, reasons: ['wasm-abort'], errorText: 'Aborted(OOM)', metrics: null, frames: [] }),
  luma: (good) => ({ ...good, metrics: { avgLuma: 7, motion: 0.1 } }),
  few: (good) => ({ ...good, frames: good.frames.slice(1) }),
  reach: async (good) => {
    try { await fetch('OTHER/leak'); } catch { return good; }
    return { ok: false, reasons: [] };
  },
};
let prewarmed = false;
export async function dumpPresetFrames(payload) {
  if (payload.captureCount === 0) { prewarmed = payload.warmupFrames === 2; return { ok: true, frames: [] }; }
  globalThis.__nw_reportProgress?.({ stage: 'loading', url: payload.url });
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = payload.outSize;
  const context = canvas.getContext('2d');
  context.fillStyle = prewarmed ? 'rgb(0,128,0)' : 'rgb(255,0,0)';
  context.fillRect(0, 0, canvas.width, canvas.height);
  const b64 = canvas.toDataURL(`image/${payload.format}`, payload.webpQuality).split(',')[1];
  const frames = Array.from({ length: payload.captureCount }, () => ({ mime: `image/${payload.format}`, b64 }));
  const good = { ok: true, reasons: [], errorText: '', metrics: { avgLuma: 0.36, motion: 0.25 }, frames };
  const found = /behave: (\\w+)/.exec(payload.presetData);
  return found ? behave[found[1]](good) : good;
}
"""


class Server:
    """A small web server on 127.0.0.1 that remembers what was asked of it."""

    def __init__(self, files: dict[str, str]) -> None:
        self.hits: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.hits.append(self.path)
                body = files.get(self.path.split("?")[0])
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Type", "text/html" if self.path.endswith(".html") else "text/javascript")
                self.send_header("Access-Control-Allow-Origin", "*")
                self.end_headers()
                self.wfile.write((body or "").encode())

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, str]], Server]]:
    servers: list[Server] = []

    def start(files: dict[str, str]) -> Server:
        servers.append(Server(files))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_the_apps_page_and_its_faults(
    small_batch: Any, serve: Callable[[dict[str, str]], Server], render_environment: RenderEnvironment
) -> None:
    other = serve({})
    app = serve(
        {
            "/preset-probe.html": "<!doctype html><title>app</title>",
            "/src/features/presets/presetFrameDump.ts": APP_MODULE.replace("OTHER", other.url),
        }
    )
    for name in ("good", "hang", "throw", "reload", "abort", "luma", "few", "reach"):
        small_batch.add(name, "[preset00]\n" + ("" if name == "good" else f"// behave: {name}\n"))
    small_batch.add("after", "[preset00]\n")
    parameters = RenderParameters(
        probe_url=f"{app.url}/preset-probe.html", timeout_ms=1000, retry_times=0, capture_count=2, preset_delay_ms=0
    )
    report = describe_renderer(render_environment, parameters)
    assert report.page.engine == ""
    assert report.page.renderer
    plan = small_batch.plan(parameters, report.page)
    for shard in plan.shards:
        render_shard(shard, environment=render_environment)
    finished = finish_index(small_batch.folder, small_batch.presets, plan.fingerprint)
    assert finished.complete
    records = small_batch.records()
    ok = {key for key, record in records.items() if isinstance(record, OkRecord)}
    assert ok == {"good", "reach", "after"}, records
    good = records["good"]
    assert isinstance(good, OkRecord)
    assert (good.metrics.avg_luma, good.metrics.motion) == (0.36, 0.25)
    failures = {
        key: (record.reasons, record.error_text or "")
        for key, record in records.items()
        if isinstance(record, FailedRecord)
    }
    assert failures["hang"][0] == ["watchdog"]
    assert "loading" in failures["hang"][1]
    assert failures["throw"] == (["probe-error"], "the page threw: Error: the app threw")
    assert failures["reload"][0][0] in {"probe-error", "watchdog"}
    assert failures["abort"] == (["wasm-abort"], "Aborted(OOM)")
    assert failures["luma"][0] == ["probe-error"]
    assert "7, outside of 0..1" in failures["luma"][1]
    assert failures["few"][0] == ["probe-error"]
    assert other.hits == []


def test_an_app_that_is_not_there_is_one_clear_line(
    serve: Callable[[dict[str, str]], Server], render_environment: RenderEnvironment
) -> None:
    app = serve({"/preset-probe.html": "<!doctype html>"})
    parameters = RenderParameters(probe_url=f"{app.url}/preset-probe.html")
    with pytest.raises(UserError, match="offers no dumpPresetFrames") as caught:
        describe_renderer(render_environment, parameters)
    assert "\n" not in str(caught.value)


def test_presets_reach_no_network_and_no_files(
    *,
    small_batch: Any,
    preset_text: Callable[..., str],
    serve: Callable[[dict[str, str]], Server],
    lax_environment: RenderEnvironment,
    browser_report: BrowserReport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Recent Chromium keeps foreign pages off 127.0.0.1 by itself, which would hide what our own walls let through.
    closed = PageHost.network_flags
    open_local = "--disable-features=LocalNetworkAccessChecks"
    monkeypatch.setattr(PageHost, "network_flags", lambda host: [*closed(host), open_local])
    server = serve({})
    tries = f"""
      const url = {json.dumps(server.url)};
      const tries = [
        () => fetch(url + '/fetch'), () => navigator.sendBeacon(url + '/beacon', 'x'),
        () => {{ new Image().src = url + '/image'; }},
        () => new WebSocket(url.replace('http', 'ws') + '/socket'), () => new EventSource(url + '/events'),
        () => window.open(url + '/popup'), () => {{ location.href = url + '/navigation'; }},
        () => import(url + '/module'), () => new Worker(url + '/worker'), () => fetch('file:///etc/passwd'),
        () => {{ const f = document.createElement('iframe'); f.src = url + '/frame'; document.body.append(f); }},
        () => {{ const l = document.createElement('link'); l.rel = 'preconnect'; l.href = url;
                 document.head.append(l); }},
        () => {{ const p = new RTCPeerConnection({{iceServers: [{{urls: 'stun:127.0.0.1:3478'}}]}});
                 p.createDataChannel('x'); p.createOffer().then((o) => p.setLocalDescription(o)); }},
      ];
      for (const attempt of tries) {{ try {{ Promise.resolve(attempt()).catch(() => {{}}); }} catch {{}} }}
    """
    small_batch.add("curious", preset_text(tries))
    small_batch.add("good", preset_text(""))
    parameters = RenderParameters(warmup_frames=4, capture_count=2, capture_every=3, retry_times=1)
    plan = small_batch.plan(parameters, browser_report.page)
    for shard in plan.shards:
        render_shard(shard, environment=lax_environment)
    assert server.hits == []
    assert small_batch.records()["good"].status == "ok"
