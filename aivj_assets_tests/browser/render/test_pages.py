"""The app's own page in place of ours, with its faults; and what a page may reach of the network."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import FailedRecord, OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.page_host import PageHost
from aivj_assets.render.preflight import look_at_browser
from aivj_assets.render.probe import describe_renderer
from aivj_assets.render.processes import kill_processes
from aivj_assets.render.resume import finish_index
from aivj_assets.render.shard import render_shard
from aivj_assets_tests.browser.render.workers import browser_processes

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
  many: (good) => ({ ...good, frames: Array.from({ length: 1000 }, () => good.frames[0]) }),
  mime: (good) => ({ ...good, frames: good.frames.map(({ b64 }) => ({ mime: 'image/png', b64 })) }),
  large: (good) => ({ ...good, frames: good.frames.map(({ mime }) => ({ mime, b64: 'A'.repeat(3e7) })) }),
  junk: (good) => ({ ...good, frames: good.frames.map(({ mime }) => ({ mime, b64: '%%%' })) }),
  small: (good) => ({ ...good, frames: good.frames.map(({ mime }) => ({ mime, b64: picture(10, mime) })) }),
  nan: (good) => ({ ...good, metrics: { avgLuma: NaN, motion: 0.1 } }),
  bare: (good) => ({ ...good, metrics: null }),
  nothing: () => null,
  secret: () => ({ ok: false, reasons: ['no-such-code', 5], errorText: '\\ud800 half\\u0000', frames: null }),
  leave: () => { location.href = '/elsewhere.html'; return new Promise(() => {}); },
  slow: (good) => new Promise((resolve) => setTimeout(resolve, 900, good)),
  reach: async (good) => {
    try { await fetch('OTHER/leak'); } catch { return good; }
    return { ok: false, reasons: [] };
  },
};
let prewarmed = false;
function picture(size, type, quality) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = size;
  const context = canvas.getContext('2d');
  context.fillStyle = prewarmed ? 'rgb(0,128,0)' : 'rgb(255,0,0)';
  context.fillRect(0, 0, size, size);
  return canvas.toDataURL(type, quality).split(',')[1];
}
export async function dumpPresetFrames(payload) {
  if (payload.captureCount === 0) { prewarmed = payload.warmupFrames === 2; return { ok: true, frames: [] }; }
  globalThis.__nw_reportProgress?.({ stage: 'loading', url: payload.url });
  const mime = `image/${payload.format}`;
  const b64 = picture(payload.outSize, mime, payload.webpQuality);
  const frames = Array.from({ length: payload.captureCount }, () => ({ mime, b64 }));
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

        self._handler = Handler
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Serve; after `stop` at the same port again."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, str]], Server]]:
    servers: list[Server] = []

    def start(files: dict[str, str]) -> Server:
        servers.append(Server(files))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


PROBE = "/preset-probe.html"
MODULE = "/src/features/presets/presetFrameDump.ts"


@pytest.fixture
def serve_app(serve: Callable[[dict[str, str]], Server]) -> Callable[..., Server]:
    """The stand-in for the app; `other` is a server that it tries to reach."""
    return lambda module=APP_MODULE, other="http://127.0.0.1:9": serve(
        {PROBE: "<!doctype html><title>app</title>", MODULE: module.replace("OTHER", other)}
    )


def app_preset(behaviour: str) -> str:
    return "[preset00]\n" + (f"// behave: {behaviour}\n" if behaviour else "")


def test_the_apps_page_and_its_faults(
    small_batch: Any,
    serve: Callable[[dict[str, str]], Server],
    serve_app: Callable[..., Server],
    render_environment: RenderEnvironment,
) -> None:
    other = serve({})
    app = serve_app(other=other.url)
    faults = [
        "hang",
        "throw",
        "reload",
        "leave",
        "abort",
        "luma",
        "few",
        "many",
        "mime",
        "large",
        "junk",
        "small",
        "nan",
    ]
    for name in ("good", "reach", *faults, "bare", "nothing", "secret", "after"):
        small_batch.add(name, app_preset("" if name in {"good", "after"} else name))
    parameters = RenderParameters(
        probe_url=f"{app.url}{PROBE}", timeout_ms=1000, retry_times=0, capture_count=2, preset_delay_ms=0
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
    with Image.open(io.BytesIO(small_batch.frame_bytes("good")[0])) as image:
        red, green, _ = image.convert("RGB").getpixel((100, 100))
    assert green > red  # the page had its prewarm call
    failures = {
        key: (record.reasons, record.error_text or "")
        for key, record in records.items()
        if isinstance(record, FailedRecord)
    }
    assert failures["hang"][0] == ["watchdog"]
    assert "loading" in failures["hang"][1]
    assert failures["throw"] == (["probe-error"], "the page threw: Error: the app threw")
    for name in ("reload", "leave"):
        assert failures[name][0][0] in {"probe-error", "watchdog"}
    assert failures["abort"] == (["wasm-abort"], "Aborted(OOM)")
    told = {
        "luma": "7, outside of 0..1",
        "few": "1 frames in place of 2",
        "many": "1000 frames in place of 2",
        "mime": "image/png in place of image/webp",
        "large": "too large",
        "junk": "not base64",
        "small": "10x10 pixels",
        "nan": "no avgLuma",
        "bare": "no avgLuma",
        "nothing": "the page answered",
        "secret": "no-such-code",
    }
    assert {name: failures[name][0] for name in told} == {name: ["probe-error"] for name in told}
    assert {name: text for name, text in told.items() if text not in failures[name][1]} == {}
    assert other.hits == []


def test_an_app_that_goes_away_and_comes_back(
    small_batch: Any, serve_app: Callable[..., Server], render_environment: RenderEnvironment
) -> None:
    app = serve_app()
    for name, behaviour in {"first": "", "second": "reload", "third": ""}.items():
        small_batch.add(name, app_preset(behaviour))
    parameters = RenderParameters(
        probe_url=f"{app.url}{PROBE}", timeout_ms=1000, retry_times=0, capture_count=1, preset_delay_ms=0
    )
    report = describe_renderer(render_environment, parameters)
    shard = small_batch.plan(parameters, report.page).shards[0]
    with pytest.raises(UserError, match="start the app's server") as caught:
        render_shard(shard, environment=render_environment, on_record=lambda _record: app.stop())
    assert "\n" not in str(caught.value)
    assert set(small_batch.records()) == {"first"}
    kept = small_batch.frame_bytes("first")
    app.start()
    plan = small_batch.plan(parameters, report.page)
    assert [preset.preset_id for preset in plan.pending] == ["second", "third"]
    for shard in plan.shards:
        render_shard(shard, environment=render_environment)
    assert finish_index(small_batch.folder, small_batch.presets, plan.fingerprint).complete
    assert {key: record.status for key, record in small_batch.records().items()} == {
        "first": "ok",
        "second": "failed",
        "third": "ok",
    }
    assert small_batch.frame_bytes("first") == kept


def test_the_apps_page_crashes_in_the_middle(
    small_batch: Any, serve_app: Callable[..., Server], render_environment: RenderEnvironment
) -> None:
    app = serve_app()
    for name, behaviour in {"first": "", "second": "slow", "third": ""}.items():
        small_batch.add(name, app_preset(behaviour))
    parameters = RenderParameters(
        probe_url=f"{app.url}{PROBE}", timeout_ms=20_000, retry_times=1, capture_count=1, preset_delay_ms=0
    )
    report = describe_renderer(render_environment, parameters)
    shard = small_batch.plan(parameters, report.page).shards[0]
    killed: list[int] = []

    def crash() -> None:
        found = browser_processes(psutil.Process(), "renderer")
        killed.extend(process.pid for process in found)
        kill_processes(found)

    def on_record(_record: Any) -> None:
        if not killed:
            threading.Timer(0.4, crash).start()

    outcome = render_shard(shard, environment=render_environment, on_record=on_record)
    assert killed
    assert (outcome.ok, outcome.failed, outcome.left) == (3, 0, 0), small_batch.records()


def test_an_app_that_never_answers_its_prewarm(
    small_batch: Any, serve_app: Callable[..., Server], render_environment: RenderEnvironment
) -> None:
    app = serve_app("export const dumpPresetFrames = () => new Promise(() => {});")
    small_batch.add("first", app_preset(""))
    parameters = RenderParameters(probe_url=f"{app.url}{PROBE}", prewarm_timeout_ms=1000)
    report = describe_renderer(render_environment, parameters)
    shard = small_batch.plan(parameters, report.page).shards[0]
    with pytest.raises(UserError, match="raise prewarmTimeoutMs") as caught:
        render_shard(shard, environment=render_environment)
    assert "\n" not in str(caught.value)
    assert small_batch.records() == {}


def test_an_app_that_is_not_there_is_one_clear_line(
    serve: Callable[[dict[str, str]], Server], render_environment: RenderEnvironment
) -> None:
    app = serve({PROBE: "<!doctype html>"})
    parameters = RenderParameters(probe_url=f"{app.url}{PROBE}")
    for _ in range(2):
        with pytest.raises(UserError, match="offers no dumpPresetFrames") as caught:
            describe_renderer(render_environment, parameters)
        assert "\n" not in str(caught.value)
        app.stop()  # the second time nobody listens


def test_the_preflight_tells_the_browser_from_its_page(
    serve: Callable[[dict[str, str]], Server], serve_app: Callable[..., Server], render_environment: RenderEnvironment
) -> None:
    def page_of(url: str | None) -> tuple[bool, str, str]:
        look = look_at_browser(render_environment, RenderParameters(probe_url=url, prewarm_timeout_ms=1000))
        found = {finding.name: finding for finding in look.findings}
        assert found["browser"].passed
        page = found["render page"]
        assert (look.report is not None) == ("WebGL" in found)
        assert "\n" not in page.detail
        return page.passed, page.severity, page.detail

    app = serve_app()
    assert page_of(f"{app.url}{PROBE}") == (True, "error", f"{app.url}{PROBE} answers")
    assert page_of(None)[0] is True
    app.stop()
    passed, severity, detail = page_of(f"{app.url}{PROBE}")
    assert (passed, severity) == (False, "error")
    assert "start the app's server, or correct probeUrl" in detail
    assert "offers no dumpPresetFrames" in page_of(f"{serve({PROBE: '<!doctype html>'}).url}{PROBE}")[2]
    hanging = serve_app("export const dumpPresetFrames = () => new Promise(() => {});")
    assert "does not answer its prewarm call" in page_of(f"{hanging.url}{PROBE}")[2]
    refusing = serve_app("export const dumpPresetFrames = () => ({ ok: false, reasons: ['wasm-abort'] });")
    passed, severity, detail = page_of(f"{refusing.url}{PROBE}")
    assert (passed, severity) == (False, "warning")
    assert "refuses the simplest preset" in detail


def test_the_preflight_warns_of_software_and_refuses_it_where_a_gpu_is_required(
    render_environment: RenderEnvironment, browser_report: BrowserReport
) -> None:
    def webgl(parameters: RenderParameters) -> tuple[bool, str, str]:
        (found,) = [each for each in look_at_browser(render_environment, parameters).findings if each.name == "WebGL"]
        return found.passed, found.severity, found.detail

    if browser_report.renderer_class == "gpu":
        assert webgl(RenderParameters()) == (True, "error", browser_report.page.renderer)
        return
    passed, severity, detail = webgl(RenderParameters())
    assert (passed, severity) == (False, "warning")
    assert f"WebGL runs in software ({browser_report.renderer_class})" in detail
    assert browser_report.page.renderer in detail
    passed, severity, detail = webgl(RenderParameters(require_gpu=True))
    assert (passed, severity) == (False, "error")
    assert "requireGpu is set" in detail


def test_presets_reach_no_network_and_no_files(
    *,
    small_batch: Any,
    preset_text: Callable[..., str],
    serve: Callable[[dict[str, str]], Server],
    open_environment: RenderEnvironment,
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
        render_shard(shard, environment=open_environment)
    assert server.hits == []
    assert small_batch.records()["good"].status == "ok"
