"""A preset's frames depend on the preset, the parameters and the renderer only; time and sound are exact."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.render.browser import start_browser
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.processes import kill_processes
from aivj_assets.render.resume import finish_index
from aivj_assets_tests.browser.render.workers import QUICK, Worker, browser_processes, contents, render

pytestmark = pytest.mark.browser

SHORT = RenderParameters(warmup_frames=10, capture_count=2, capture_every=5, timeout_ms=60_000, refresh_every=1000)
PROJECTM = Path("/usr/share/projectM/presets")
EXTRA_IMAGE = r"sampler_(?:cells|seaweed|prayerwheel|lichen|smalltiled_lizard_scales)\b"
# What a preset's text holds when it uses a part of the engine, and how many presets with it are wanted at least.
JSON_KINDS = {
    "extra image": (EXTRA_IMAGE, 3),
    "image that nobody has": (r"sampler_(?:rand0\d|sunrise|onefish)", 2),
    "clouds": (r"sampler_fw_clouds|sampler_clouds2", 2),
    "noise lq": (r"sampler_noise_lq\b", 2),
    "noise mq": (r"sampler_noise_mq\b", 2),
    "noise hq": (r"sampler_noise_hq\b", 2),
    "noise volume": (r"sampler_noisevol_", 3),
    "blur1": (r"sampler_blur1\b", 2),
    "blur2": (r"sampler_blur2\b", 2),
    "blur3": (r"sampler_blur3\b", 2),
    "random numbers of shaders": (r"rand_(?:frame|preset)", 2),
    "warp shader": (r'"warp": ?"[^"]*shader_body', 2),
    "comp shader": (r'"comp": ?"[^"]*shader_body', 2),
    "custom wave": (r'"waves": ?\[[^\]]*"enabled": ?1', 3),
    "custom shape": (r'"shapes": ?\[[^\]]*"enabled": ?1', 3),
    "textured shape": (r'"textured": ?1', 2),
    "per-pixel equations": (r'"pixel_eqs_str": ?"[^"]{40}', 3),
    "q variables": (r"a\.q\d", 2),
    "reg variables": (r"a\.reg\d\d", 2),
    "megabuf": (r"megabuf\[", 3),
    "random numbers": (r"rand(?:int)?\(", 3),
    "motion vectors": (r'"mv_a": ?(?:1|0\.[1-9])', 2),
    "video echo": (r'"echo_alpha": ?(?:1|0\.[1-9])', 2),
}
MILK_KINDS = {
    "MilkDrop 1": (r"\A(?![\s\S]*PSVERSION)", 1),
    "extra image": (EXTRA_IMAGE, 1),
    "noise": (r"sampler_(?:\w\w_)?noise_[lmh]q", 1),
    "noise volume": (r"sampler_(?:\w\w_)?noisevol", 1),
    "blur": (r"GetBlur[123]", 1),
    "warp shader": (r"(?m)^warp_1=", 1),
    "comp shader": (r"(?m)^comp_1=", 1),
    "custom wave": (r"(?mi)^wavecode_\d_enabled=1", 1),
    "custom shape": (r"(?mi)^shapecode_\d_enabled=1", 1),
    "per-pixel equations": (r"(?m)^per_pixel_1=", 1),
    "megabuf": (r"(?i)megabuf\(", 2),
    "loop": (r"(?i)\b(?:loop|while)\(", 1),
    "random numbers": (r"(?i)\brand\(", 1),
}
FAILING = {
    "no-such-function": "[preset00]\nper_frame_1=q1=nosuch(1);\n",
    "broken-shader": "[preset00]\nMILKDROP_PRESET_VERSION=201\nPSVERSION=2\ncomp_1=`shader_body { ret = nonsense; }\n",
    "fails-later": '{"baseVals":{},"init_eqs_str":"","frame_eqs_str":"if (a.frame > 12) memcpy(5, 0, 0, 1);"}',
}


def choose(files: list[Path], kinds: dict[str, tuple[str, int]], count: int) -> list[Path]:
    """Return at least `count` files in which every kind is met as often as asked; the same for the same files."""
    by_chance = sorted(files, key=lambda path: hashlib.sha1(path.name.encode("utf-8")).hexdigest())
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in by_chance}
    chosen: list[Path] = []
    for kind, (pattern, wanted) in kinds.items():
        found = [path for path in by_chance if re.search(pattern, texts[path])]
        assert len(found) >= wanted, f"{len(found)} presets with {kind}"
        have = sum(path in chosen for path in found)
        chosen += [path for path in found if path not in chosen][: max(0, wanted - have)]
    return chosen + [path for path in by_chance if path not in chosen][: max(0, count - len(chosen))]


@pytest.fixture(scope="module")
def chosen_presets(real_presets: list[Path]) -> dict[str, Path | str]:
    """Real presets of every kind by a made-up id, and some that fail."""
    presets: dict[str, Path | str] = {
        f"json-{number}": path for number, path in enumerate(choose(real_presets, JSON_KINDS, 40))
    }
    if PROJECTM.is_dir():
        milk = sorted(PROJECTM.rglob("*.milk"))
        presets |= {f"milk-{number}": path for number, path in enumerate(choose(milk, MILK_KINDS, 12))}
    presets |= FAILING
    ids = list(presets)
    random.Random(7).shuffle(ids)
    return {preset_id: presets[preset_id] for preset_id in ids}


@pytest.fixture
def start_worker(render_environment: RenderEnvironment) -> Iterator[Callable[[list[Any]], Worker]]:
    workers: list[Worker] = []

    def start(plans: list[Any]) -> Worker:
        workers.append(Worker(render_environment, plans))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


@pytest.mark.timeout(600)
def test_frames_do_not_depend_on_what_surrounds_a_preset(
    chosen_presets: dict[str, Path | str],
    make_batch: Callable[[str], Any],
    start_worker: Callable[[list[Any]], Worker],
    browser_report: BrowserReport,
) -> None:
    ids = list(chosen_presets)
    alone = random.Random(3).sample(ids, 3)

    def batch_of(name: str, order: list[str]) -> Any:
        batch = make_batch(name)
        for preset_id in order:
            content = chosen_presets[preset_id]
            is_milk = isinstance(content, str) and content.startswith("[")
            batch.add(preset_id, content, rel_path=f"pack/{preset_id}.milk" if is_milk else None)
        return batch

    def plans_of(batch: Any, **changes: Any) -> list[Any]:
        return list(batch.plan(SHORT.model_copy(update=changes), browser_report.page).shards)

    forward, backward, dealt = (batch_of(name, ids) for name in ("forward", "backward", "dealt"))
    backward.presets.reverse()
    both = [start_worker(plans_of(forward)), start_worker(plans_of(backward))]
    for worker in both:
        worker.finish()
    # The same cut into three shards, whose browsers are ended from outside on the way; beside it, some alone.
    shards = plans_of(dealt, refresh_every=-(-len(ids) // 3), retry_times=3)
    assert len(shards) == 3
    worker = start_worker(shards)
    singles = [batch_of(f"alone-{preset_id}", [preset_id]) for preset_id in alone]
    beside = start_worker([shard for batch in singles for shard in plans_of(batch)])
    worker.wait_for_records(8)
    kill_processes(browser_processes(psutil.Process(worker.process.pid)))
    worker.finish()
    beside.finish()

    expected = contents(forward)
    assert sorted(expected) == sorted(ids)
    for batch in (backward, dealt):
        found = contents(batch)
        assert {key: found[key][0] for key in ids} == {key: expected[key][0] for key in ids}
        assert [key for key in ids if found[key] != expected[key]] == []
    for batch, preset_id in zip(singles, alone, strict=True):
        assert contents(batch) == {preset_id: expected[preset_id]}
    _check_that_there_is_something_to_see(forward, ids)


def _check_that_there_is_something_to_see(batch: Any, ids: list[str]) -> None:
    records = batch.records()
    assert {key: records[key].reasons for key in FAILING} == {
        "no-such-function": ["preset-load-failed"],
        "broken-shader": ["shader-compile-failed"],
        "fails-later": ["render-failed"],
    }
    shown = [key for key in ids if isinstance(records[key], OkRecord)]
    assert len(shown) >= 0.9 * (len(ids) - len(FAILING))
    assert sum(key.startswith("json") for key in shown) >= 40
    assert len({frame for key in shown for frame in batch.frame_bytes(key)}) >= 1.7 * len(shown)


# The worst difference between `time` and frame / fps, and the frame's number, as colours.
TIME_JS = "a.worst = Math.max(a.worst, Math.abs(a.time - a.frame / FPS)); a.q1 = a.worst < 1e-9; a.q2 = a.frame / 100;"
TIME_EEL = "worst=max(worst,abs(time-frame/FPS)); q1=below(worst*1000000000,1); q2=frame/100;"


@pytest.mark.parametrize("fps", [30, 60])
def test_simulated_time_is_true(
    fps: int,
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    small_batch.add(
        "js",
        preset_text(
            TIME_JS.replace("FPS", str(fps)),
            init_eqs_str="a.worst = 0;",
            comp="shader_body { ret = vec3(q1, q2, abs(fps - FPS.0) < 0.001); }".replace("FPS", str(fps)),
        ),
    )
    small_batch.add(
        "eel",
        "[preset00]\nMILKDROP_PRESET_VERSION=201\nPSVERSION=2\n"
        f"per_frame_1={TIME_EEL.replace('FPS', str(fps))}\n"
        f"comp_1=`shader_body {{ ret = float3(q1, q2, abs(time - q2 * 100 / {fps}) < 0.001); }}\n",
        rel_path="pack/eel.milk",
    )
    parameters = RenderParameters(
        warmup_frames=60, capture_count=3, capture_every=13, format="png", out_size=16, fixed_step_fps=fps
    )
    assert render(small_batch, render_environment, browser_report, parameters).ok == 2, small_batch.records()
    for preset_id in ("js", "eel"):
        colours = [
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).reshape(-1, 3).mean(axis=0)
            for data in small_batch.frame_bytes(preset_id)
        ]
        assert [colour[0] for colour in colours] == [255, 255, 255], preset_id
        assert [colour[1] * 100 / 255 for colour in colours] == pytest.approx([73, 86, 99], abs=0.3), preset_id
        assert [colour[2] for colour in colours] == [255, 255, 255], preset_id


# 300 frames of what presets hear at 30 frames/s, mixed, left and right: 8 bits each, made with + - * / and integers
# only, so that IEEE 754 leaves no machine a choice. The digest was confirmed by the same formulas in Python.
AUDIO_JS = """async (settings) => {
  const { createAudio } = await import('/page/audio.js');
  const audio = createAudio(settings);
  let text = '';
  for (let frame = 1; frame <= 300; frame += 1) {
    const { timeByteArray, timeByteArrayL, timeByteArrayR } = audio.at(frame / 30);
    for (const bytes of [timeByteArray, timeByteArrayL, timeByteArrayR]) text += String.fromCharCode(...bytes);
  }
  return btoa(text);
}"""
AUDIO_SHA256 = "a5ffc1db2cab8697e0ef3e97b1ab28a16a92dd66c4e677476eaa6e162fbefbd7"
SOUNDS_SHA256 = {
    "pulse": "853a64648ceb848302272e801c781cc5ee5097e2c9ee2b59d9c6c7eb1ff99291",
    "bursts": "d191c8ba66d18a41e0787ea92fefa1777670bd7705e38858fe6760d476e15475",
    "sweep": "2dd5211e58e072c4afc3528d9361254ad90a18014408f6cb1abaef31b8f199d5",
}


def test_the_sound_is_the_same_on_every_machine(render_environment: RenderEnvironment) -> None:
    settings = [
        {"mode": "synthetic", "bpm": 128, "seed": 1},
        {"mode": "synthetic", "bpm": 128, "seed": 2},
        {"mode": "synthetic", "bpm": 90, "seed": 1},
        {"mode": "silence", "bpm": 128, "seed": 1},
        *({"mode": f"synthetic:{sound}", "bpm": 128, "seed": 1} for sound in SOUNDS_SHA256),
    ]
    browser = start_browser(render_environment, QUICK)
    try:
        browser.open_page()
        heard = [base64.b64decode(browser._call(browser._page.evaluate(AUDIO_JS, each), 60)) for each in settings]
    finally:
        browser.close()
    assert hashlib.sha256(heard[0]).hexdigest() == AUDIO_SHA256
    assert len(set(heard)) == len(settings)
    samples = np.frombuffer(heard[0], dtype=np.uint8).astype(int)
    assert samples.size == 300 * 3 * 1024
    assert samples.std() > 10
    assert set(heard[3]) == {128}
    assert [hashlib.sha256(data).hexdigest() for data in heard[4:]] == list(SOUNDS_SHA256.values())


def test_the_sound_reaches_the_presets(
    small_batch: Any,
    preset_text: Callable[..., str],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    small_batch.add(
        "p", preset_text("a.q1 = a.bass / 2; a.q2 = a.treb / 2;", comp="shader_body { ret = vec3(q1, q2, 0); }")
    )
    changes: list[dict[str, Any]] = [{}, {"audio": "silence"}]
    seen = []
    for change in changes:
        parameters = RenderParameters(capture_count=2, capture_every=7, warmup_frames=12).model_copy(update=change)
        assert render(small_batch, render_environment, browser_report, parameters).ok == 1
        seen.append(json.dumps([hashlib.sha1(data).hexdigest() for data in small_batch.frame_bytes("p")]))
    assert len(set(seen)) == len(changes)


def test_run_again_nothing_is_pending(
    small_batch: Any,
    real_presets: list[Path],
    render_environment: RenderEnvironment,
    browser_report: BrowserReport,
) -> None:
    small_batch.add("p0", real_presets[200])
    assert render(small_batch, render_environment, browser_report, QUICK).complete
    check_record(small_batch, "p0")
    before = contents(small_batch)
    plan = small_batch.plan(QUICK, browser_report.page)
    assert (plan.pending, plan.shards) == ((), ())
    assert finish_index(small_batch.folder, small_batch.presets, plan.fingerprint).complete
    assert contents(small_batch) == before


def check_record(batch: Any, preset_id: str) -> None:
    """Recompute the figures from the stored files; the reference, which motion starts from, is not stored."""
    record = batch.records()[preset_id]
    assert isinstance(record, OkRecord)
    images = [Image.open(io.BytesIO(data)) for data in batch.frame_bytes(preset_id)]
    assert {image.format for image in images} == {"WEBP"}
    assert {image.size for image in images} == {(224, 224)}
    grays = [
        (np.asarray(image.convert("RGB"), dtype=float) / 255 * [0.2126, 0.7152, 0.0722]).sum(axis=2) for image in images
    ]
    assert record.metrics.avg_luma == pytest.approx(np.mean([gray.mean() for gray in grays]), abs=1e-5)
    second = np.abs(grays[1] - grays[0]).mean()
    first = 2 * record.metrics.motion - second
    assert 0 <= first <= 1
