"""`aivj doctor`: the rooms' findings about this machine and Dagster's pool of browsers, together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import Field
from rich.console import Console

from aivj_assets.contracts.base import ContractModel
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.embed.precision import DeviceFacts, describe_device
from aivj_assets.embed.preflight import MODEL_FINDING
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot, web_engine_dir
from aivj_assets.orchestration.instance import (
    BROWSER_POOL,
    BROWSERS_VARIABLE,
    browser_limit,
    open_instance,
    storage_errors,
)
from aivj_assets.orchestration.parameters import effective_parameters
from aivj_assets.orchestration.preflight import FAILED, look_before_rendering, model_of_run, verdict, written_places
from aivj_assets.orchestration.resources import EmbedderResource
from aivj_assets.render.browser_count import (
    PRESETS_PER_BROWSER,
    BrowserCount,
    CountTrial,
    measure_browser_count,
    spread,
)
from aivj_assets.render.doctor import Checkup, Problem, RendererTrial, examine
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.preflight import BROWSER, PAGE, WEBGL
from aivj_assets.render.preflight_places import TYPICAL_BYTES_PER_PRESET, clock_finding, size_text, write_findings
from aivj_assets.render.web_engine import installed_web_engine
from aivj_assets.report.console import print_checkup, progress_bar, require_batch

Rows = list[tuple[str, str]]


class Doctor(ContractModel):
    """What `aivj doctor --json` prints."""

    checkup: Checkup
    device: DeviceFacts
    bytes_per_preset: int
    """What a preset's frames take on the disk at the default parameters."""
    bytes_measured: bool
    browsers: BrowserCount | None = None
    """None with `--quick`, or when nothing can be rendered."""
    pool_limit: int
    pool_set: bool = False
    """True when this call set the pool's limit."""
    preflight: list[Finding] = Field(default_factory=list)
    """What a run looks at before it renders: of the batch that was named, else of the machine."""
    problems: list[Problem]


@dataclass(frozen=True)
class DoctorOptions:
    """What the command line asks for."""

    quick: bool = False
    apply: bool = False
    as_json: bool = False
    batch: BatchKey | None = None
    """The batch whose preflight is shown."""
    embedder: str | None = None
    pretrained: str | None = None


def doctor_and_report(console: Console, root: DataRoot, options: DoctorOptions) -> int:
    """Examine the machine, print what was found; returns 1 when something stops rendering, else 0.

    With `apply` the limit of the pool `browser` is set to what the measurement recommends. Raises `UserError` when the
    options contradict each other, the batch is none, or the limit cannot be set.
    """
    if options.apply and options.quick:
        raise UserError("--apply sets what the measurement recommends, and --quick leaves it out: give one of the two.")
    if options.apply and os.environ.get(BROWSERS_VARIABLE, "").strip():
        raise UserError(f"{BROWSERS_VARIABLE} is set and decides the limit: unset it, or leave --apply out.")
    if options.batch is not None:
        require_batch(root, options.batch)
    limit = pool_limit(root, os.environ)
    screen = Console(stderr=True) if options.as_json else console
    with progress_bar(screen, transient=True) as progress:
        task = progress.add_task("", total=None)
        checkup, environment = examine(root, os.environ, lambda text: progress.update(task, description=text))
        device = describe_device()
        progress.update(task, description="Loading the embedding model")
        preflight = preflight_findings(root, checkup, environment, options)
        found_before = [*checkup.problems, *preflight_problems(preflight, checkup)]
        can_render = not any(problem.stops_rendering for problem in found_before)
        browsers = None
        if environment is not None and can_render and not options.quick:
            browsers = _measure(
                checkup,
                environment,
                lambda count, done, total: progress.update(
                    task, description=f"Measuring {_browsers(count)} at once", completed=done, total=total
                ),
            )
    if options.apply and browsers is not None:
        set_pool_limit(root, browsers.recommended)
        limit = browsers.recommended
    found = Doctor(
        checkup=checkup,
        device=device,
        bytes_per_preset=(browsers.bytes_per_preset if browsers else 0) or TYPICAL_BYTES_PER_PRESET,
        bytes_measured=bool(browsers and browsers.bytes_per_preset),
        browsers=browsers,
        pool_limit=limit,
        pool_set=options.apply and browsers is not None,
        preflight=preflight,
        problems=[*found_before, *device_problems(device, checkup), *pool_problems(browsers, limit, os.environ)],
    )
    if options.as_json:
        text = json.dumps({**found.to_json(), "canRender": can_render}, indent=2, ensure_ascii=False)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        print_checkup(console, sections(found), [(each.text, each.stops_rendering) for each in found.problems])
    return 0 if can_render else 1


def _measure(
    checkup: Checkup, environment: RenderEnvironment, on_progress: Callable[[int, int, int], None]
) -> BrowserCount | None:
    engine = installed_web_engine(web_engine_dir(os.environ))
    if engine is None or checkup.page is None or checkup.chosen is None:
        return None
    folder = engine.package("butterchurn-presets") / "presets" / "converted"
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    return measure_browser_count(
        environment,
        checkup.page,
        presets=spread(paths, PRESETS_PER_BROWSER + 1),
        cores=checkup.machine.cores,
        is_gpu=checkup.chosen.renderer_class == "gpu",
        on_progress=on_progress,
    )


# ---------------------------------------------------------------------- what a run looks at before it renders


def preflight_findings(
    root: DataRoot, checkup: Checkup, environment: RenderEnvironment | None, options: DoctorOptions
) -> list[Finding]:
    """Return the findings of a batch's preflight; of the machine where none is named, and then nothing is written."""
    settings = PackSettings() if options.batch is None else PackSettings.of_pack(root, options.batch.pack)
    embedder = EmbedderResource(model=options.embedder, pretrained=options.pretrained)
    device, precision = embedder.where(settings)
    if options.batch is None:
        clock = clock_finding(datetime.now(UTC), {"the latest run": _latest_run(root)})
        model = model_of_run(None, lambda: embedder.choose(settings), device=device, precision=precision)
        return [*write_findings(written_places(root)), clock, model, *browser_findings(checkup)]

    def environment_here() -> RenderEnvironment:
        if environment is None:
            raise UserError(next(each.text for each in checkup.problems if each.stops_rendering))
        return environment

    with storage_errors(root), open_instance(root, os.environ) as instance:
        looked = look_before_rendering(
            instance,
            root,
            options.batch,
            Manifest.load(root.manifest(options.batch)).presets,
            effective_parameters(root, options.batch.pack, {}),
            environment=environment_here,
            choose=lambda: embedder.choose(settings),
            device=device,
            precision=precision,
        )
    return list(looked.findings)


def browser_findings(checkup: Checkup) -> list[Finding]:
    """Return what the checkup tells of browser, renderer and page, as a run's preflight would."""
    browser, chosen, page = checkup.browser, checkup.chosen, checkup.page
    stops = next((each.text for each in checkup.problems if each.stops_rendering), "it was not tried")
    if browser is None or chosen is None:
        return [Finding(BROWSER, passed=False, detail=stops)]
    renderer = f"{chosen.renderer_class}: {chosen.renderer}"
    return [
        Finding(BROWSER, passed=True, detail=f"{browser.version} ({browser.executable})"),
        Finding(WEBGL, passed=chosen.renderer_class == "gpu", detail=renderer, severity="warning"),
        Finding(PAGE, passed=page is not None, detail="our own loads" if page else stops),
    ]


def preflight_problems(findings: Sequence[Finding], checkup: Checkup) -> list[Problem]:
    """Return a line for each finding that the checkup does not tell already.

    A model that cannot be had stops runs, but not rendering.
    """
    told = {problem.text for problem in checkup.problems}
    return [
        Problem(
            text=f"{each.name}: {each.detail}", stops_rendering=verdict(each) == FAILED and each.name != MODEL_FINDING
        )
        for each in findings
        # Of software rendering the checkup says more.
        if not each.passed and each.detail not in told and (each.name != WEBGL or verdict(each) == FAILED)
    ]


def _latest_run(root: DataRoot) -> datetime | None:
    if not (root.dagster_home / "dagster.yaml").is_file():
        return None
    with storage_errors(root), open_instance(root, os.environ) as instance:
        records = instance.get_run_records(limit=1)
    return records[0].create_timestamp if records else None


# ---------------------------------------------------------------------- the pool


def pool_limit(root: DataRoot, environ: Mapping[str, str]) -> int:
    """Return how many browsers Dagster lets render at once; the default where the data root has no storage yet."""
    if not (root.dagster_home / "dagster.yaml").is_file():
        return browser_limit(environ, os.cpu_count() or 1)
    with storage_errors(root), open_instance(root, environ) as instance:
        return int(instance.event_log_storage.get_concurrency_info(BROWSER_POOL).slot_count)


def set_pool_limit(root: DataRoot, limit: int) -> None:
    """Set the limit of the pool `browser`, as Deployment → Concurrency in the UI does."""
    with storage_errors(root), open_instance(root, os.environ) as instance:
        instance.event_log_storage.set_concurrency_slots(BROWSER_POOL, limit)


def pool_problems(browsers: BrowserCount | None, limit: int, environ: Mapping[str, str]) -> list[Problem]:
    """Return a line when the pool's limit is not what the measurement recommends."""
    if browsers is None or browsers.recommended == limit:
        return []
    how = "aivj doctor --apply sets it"
    if environ.get(BROWSERS_VARIABLE, "").strip():
        how = f"set {BROWSERS_VARIABLE}={browsers.recommended}"
    measured = next((trial for trial in browsers.trials if trial.browsers == limit), None)
    rate = f" ({measured.presets_per_s:.2f} presets/s)" if measured else ""
    text = f"The pool '{BROWSER_POOL}' lets {_browsers(limit)} render at once{rate}; {browsers.recommended} suit better"
    return [Problem(text=f"{text} ({browsers.reason}): {how}.")]


def device_problems(device: DeviceFacts, checkup: Checkup) -> list[Problem]:
    """Return a line when embedding does not use the NVIDIA GPU that is there."""
    gpus = checkup.machine.nvidia_gpus
    if not gpus or device.device.startswith("cuda"):
        return []
    text = (
        f"There is an {gpus[0]}, but PyTorch {device.torch_version} does not use it: install its CUDA build into .venv"
    )
    return [Problem(text=f"{text} (pytorch.org, Get Started).")]


# ---------------------------------------------------------------------- what is shown


def sections(found: Doctor) -> list[tuple[str, Rows]]:
    """Return the sections that are printed, each with its lines of (label, value)."""
    shown = [("Machine", _machine_rows(found)), ("Browser", _browser_rows(found.checkup))]
    if found.checkup.renderers:
        shown.append(("WebGL renderers tried", [_trial_row(trial) for trial in found.checkup.renderers]))
    preflight = [(each.name, f"{verdict(each)}: {each.detail}") for each in found.preflight]
    shown.append(("Before a batch", preflight))
    device = found.device
    shown.append(
        (
            "Embedding",
            [
                ("device", f"{device.device}: {device.name} (PyTorch {device.torch_version})"),
                ("precision", device.precision),
            ],
        )
    )
    rows: Rows = []
    if found.browsers is not None:
        rows = [_count_row(trial) for trial in found.browsers.trials]
        rows.append(("recommended", f"{found.browsers.recommended} ({found.browsers.reason})"))
    rows.append((f"pool '{BROWSER_POOL}'", f"{found.pool_limit}{' (set now)' if found.pool_set else ''}"))
    shown.append(("Browsers at once", rows))
    return shown


def _machine_rows(found: Doctor) -> Rows:
    machine = found.checkup.machine
    per_thousand = size_text(1000 * found.bytes_per_preset)
    room = int(machine.disk_free_bytes / found.bytes_per_preset)
    origin = "measured" if found.bytes_measured else "typical"
    return [
        ("Python", machine.python),
        ("system", machine.system),
        ("cores", str(machine.cores)),
        ("memory", f"{size_text(machine.memory_bytes)}, {size_text(machine.memory_available_bytes)} free"),
        ("data root", machine.data_root),
        ("disk", f"{size_text(machine.disk_free_bytes)} free: frames of about {room:,} presets"),
        ("", f"1,000 presets take {per_thousand} at the default parameters ({origin})"),
        ("NVIDIA GPU", ", ".join(machine.nvidia_gpus) or "none found"),
    ]


def _browser_rows(checkup: Checkup) -> Rows:
    engine = checkup.web_engine
    rows = [("web engine", ", ".join(f"{name} {version}" for name, version in engine.items()) if engine else "missing")]
    browser = checkup.browser
    if browser is None:
        return [*rows, ("browser", "none")]
    origins = {"environment": "AIVJ_CHROMIUM", "playwright": "Playwright's own", "system": "found on this system"}
    rows += [
        ("browser", f"{browser.executable} ({origins.get(browser.source, browser.source)})"),
        ("version", browser.version or "does not start"),
        ("sandbox", f"{'on' if browser.sandbox else 'off'}: {browser.sandbox_reason}"),
    ]
    if checkup.page is not None:
        page = checkup.page
        rows.append(("render page", f"{page.engine} {page.engine_version}, page version {page.page_version}"))
    return rows


def _trial_row(trial: RendererTrial) -> tuple[str, str]:
    name = trial.name if trial.headless else f"{trial.name}, window"
    told = trial.problem or trial.renderer or "no WebGL2"
    return name, f"{trial.renderer_class}: {told} ({trial.start_s:.1f} s){', chosen' if trial.chosen else ''}"


def _count_row(trial: CountTrial) -> tuple[str, str]:
    rate, peak = f"{trial.presets_per_s:.2f} presets/s", size_text(trial.peak_memory_bytes)
    return str(trial.browsers), f"{rate}, up to {peak} of memory each ({trial.duration_s:.0f} s)"


def _browsers(count: int) -> str:
    return "1 browser" if count == 1 else f"{count} browsers"
