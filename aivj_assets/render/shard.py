"""One shard: presets to frames in one browser's lifetime. A failed preset is a record, never an exception."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from aivj_assets.contracts.frames_index import TRANSIENT_REASONS, FailedRecord, FrameMetrics, OkRecord, id_hash
from aivj_assets.contracts.preset_file import PresetRefusal, PresetText, read_manifest_preset
from aivj_assets.render.answer import BadAnswerError, RefusedPreset, RenderedPreset, judge_answer
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets.render.probe import build_payload, check_renderer, outer_timeout_s, prewarm, sound_fields
from aivj_assets.render.resume import is_done
from aivj_assets.render.session import BrowserDiedError, BrowserError, ProbeTimeoutError, RenderSession
from aivj_assets.render.shard_log import ShardLog, store_frames
from aivj_assets.render.shard_plan import TIME_IS_OVER, ShardOutcome, ShardPlan, ShardPreset

logger = logging.getLogger(__name__)
Record = OkRecord | FailedRecord

MAX_BROWSERS_KILLED = 2
# Ctrl-C reaches browser and worker at the same moment: the browser's death must not be taken for the preset's doing.
_INTERRUPT_GRACE_S = 0.5
_NAP_S = 0.1


class _StoppedError(Exception):
    """Somebody asked to stop; the preset at hand has no record."""


@dataclass(frozen=True)
class _Failure:
    """One try that failed."""

    reasons: tuple[str, ...]
    text: str
    killed_browser: bool = False

    @property
    def transient(self) -> bool:
        return not TRANSIENT_REASONS.isdisjoint(self.reasons)


def render_shard(
    plan: ShardPlan,
    *,
    environment: RenderEnvironment,
    on_record: Callable[[Record], None] | None = None,
    should_stop: Callable[[], str | None] | None = None,
    say: Callable[[str], None] | None = None,
    on_timings: Callable[[str, Mapping[str, float]], None] | None = None,
) -> ShardOutcome:
    """Render a shard's presets, appending a line to its log for each.

    Presets that the shard's log already holds (an earlier try of this shard was killed) are not rendered again.
    `should_stop` is asked before each try and returns why to stop, or None. `on_record` hears each new record after it
    is stored; `say` gets a line of progress every `logEvery` presets. `on_timings` hears of each try that was
    answered: the preset's id and where the time went, in ms (the page's convert, load, js, gl, readback, encode;
    judge and write of this side; total of the whole try).

    Raises `UserError` for what concerns all presets (no browser, another renderer than planned, disk full); what is
    rendered until then is kept.
    """
    return _ShardRun(plan, environment, _Listeners(on_record, should_stop, say or logger.info, on_timings)).run()


@dataclass(frozen=True)
class _Listeners:
    """Whom `render_shard` asks and tells."""

    on_record: Callable[[Record], None] | None
    should_stop: Callable[[], str | None] | None
    say: Callable[[str], None]
    on_timings: Callable[[str, Mapping[str, float]], None] | None


class _ShardRun:
    """The state of one `render_shard` call."""

    def __init__(self, plan: ShardPlan, environment: RenderEnvironment, listeners: _Listeners) -> None:
        self._plan = plan
        self._environment = environment
        self._listeners = listeners
        self._log = ShardLog(plan.batch_dir, plan.name)
        self._session: RenderSession | None = None
        self._sound: Mapping[str, Any] = {}
        self._with_this_browser = 0
        self._ok = self._failed = self._reused = 0
        self._stop_reason: str | None = None
        self._started_s = time.monotonic()

    def run(self) -> ShardOutcome:
        self._sound = sound_fields(self._plan.root, self._plan.parameters)
        logged = self._log.open()
        with ExitStack() as stack:
            for preset in self._plan.presets:
                text = read_manifest_preset(self._plan.root, preset.rel_path)
                record = logged.get(preset.preset_id)
                if record is not None and self._is_done(record, text):
                    self._count(record)
                    self._reused += 1
                    continue
                try:
                    self._check_stop()
                    record = self._render(preset, text, stack)
                except _StoppedError:
                    break
                self._log.append(record)
                self._count(record)
                if self._listeners.on_record is not None:
                    self._listeners.on_record(record)
                self._report_progress()
                self._pause()
        done = self._ok + self._failed
        return ShardOutcome(
            shard=self._plan.name,
            ok=self._ok,
            failed=self._failed,
            left=len(self._plan.presets) - done,
            reused=self._reused,
            duration_s=time.monotonic() - self._started_s,
            browsers_started=self._session.browsers_started if self._session else 0,
            stop_reason=self._stop_reason,
        )

    def _is_done(self, record: Record, text: PresetText | PresetRefusal) -> bool:
        plan = self._plan
        return is_done(record, text, plan.fingerprint, plan.batch_dir, timeout_ms=plan.parameters.timeout_ms)

    # ------------------------------------------------------------------ one preset

    def _render(self, preset: ShardPreset, text: PresetText | PresetRefusal, stack: ExitStack) -> Record:
        """Return a preset's record after as many tries as it takes; raises `_StoppedError` when asked to stop."""
        if isinstance(text, PresetRefusal):
            return self._failed_record(preset, None, _Failure((text.reason,), text.detail))
        session = self._ready_session(stack)
        killed = 0
        tries = 1 + self._plan.parameters.retry_times
        for attempt in range(1, tries + 1):
            result = self._try(session, preset, text)
            if isinstance(result, OkRecord):
                return result
            killed += result.killed_browser
            if killed >= MAX_BROWSERS_KILLED:
                told = f"quarantined after ending {killed} browsers: {result.text}"
                return self._failed_record(preset, text, _Failure(result.reasons, told), quarantined=True)
            if not result.transient or attempt == tries:
                return self._failed_record(preset, text, result)
            logger.info("%s: %s (%s), try %d", preset.preset_id, result.reasons[0], result.text[:200], attempt + 1)
            self._check_stop()
        raise AssertionError("unreachable: the last try returns")

    def _try(self, session: RenderSession, preset: ShardPreset, text: PresetText) -> OkRecord | _Failure:
        """Render a preset once; afterwards the session is fit for the next one."""
        parameters = self._plan.parameters
        self._with_this_browser += 1
        payload = {**build_payload(parameters, preset.rel_path, text.text), **self._sound}
        began_s = time.perf_counter()
        try:
            answer = session.dump(payload, outer_timeout_s(parameters.timeout_ms))
            answered_s = time.perf_counter()
            result = judge_answer(answer, parameters)
        except BadAnswerError as error:
            self._recover(session)
            return _Failure(("probe-error",), str(error))
        except BrowserError as error:
            return self._after_browser_error(session, error)
        judged_s = time.perf_counter()
        if isinstance(result, RefusedPreset):
            done: OkRecord | _Failure = self._refused(session, result)
        else:
            done = self._store(preset, text, result)
        if self._listeners.on_timings is not None:
            ended_s = time.perf_counter()
            own_s = {"judge": judged_s - answered_s, "write": ended_s - judged_s, "total": ended_s - began_s}
            own_ms = {name: 1000 * seconds for name, seconds in own_s.items()}
            self._listeners.on_timings(preset.preset_id, {**result.timings_ms, **own_ms})
        if isinstance(result, RenderedPreset) and result.tainted:
            self._recover(session)
        return done

    def _refused(self, session: RenderSession, result: RefusedPreset) -> _Failure:
        failure = _Failure(result.reasons, result.error_text)
        if failure.transient or result.tainted:
            # Chromium denies WebGL to a page whose context was lost too often: only a new browser forgets.
            self._recover(session, replace_browser="context-lost" in result.reasons)
        return failure

    def _after_browser_error(self, session: RenderSession, error: BrowserError) -> _Failure:
        if isinstance(error, BrowserDiedError):
            time.sleep(_INTERRUPT_GRACE_S)
            self._check_stop()
        took = self._recover(session)
        reason = "watchdog" if isinstance(error, ProbeTimeoutError) else "probe-error"
        return _Failure((reason,), str(error), killed_browser=took == "browser")

    def _store(self, preset: ShardPreset, text: PresetText, result: RenderedPreset) -> OkRecord:
        digest = id_hash(preset.preset_id)
        frames = store_frames(self._plan.batch_dir, digest, result.frames, self._plan.parameters.suffix)
        figures = result.figures
        metrics = {
            "avgLuma": round(figures.avg_luma, 6),
            "motion": round(figures.motion, 6),
            "lumaStd": round(figures.luma_std, 6),
            "flags": list(figures.flags),
        }
        return OkRecord(
            preset_id=preset.preset_id,
            rel_path=preset.rel_path,
            file_path=self._file_path(preset),
            preset_sha256=text.sha256,
            fingerprint=self._plan.fingerprint,
            id_hash=digest,
            frames=frames,
            metrics=FrameMetrics.model_validate(metrics),
            warnings=list(result.warnings) or None,
        )

    def _failed_record(
        self, preset: ShardPreset, text: PresetText | None, failure: _Failure, *, quarantined: bool = False
    ) -> FailedRecord:
        return FailedRecord(
            preset_id=preset.preset_id,
            rel_path=preset.rel_path,
            file_path=self._file_path(preset),
            preset_sha256=text.sha256 if text else None,
            fingerprint=self._plan.fingerprint,
            reasons=list(failure.reasons),
            error_text=failure.text or None,
            quarantined=quarantined or None,  # a later run tries it again only when told to, or with more time
            timeout_ms=self._plan.parameters.timeout_ms if quarantined or failure.transient else None,
        )

    def _file_path(self, preset: ShardPreset) -> str:
        return f"public/presets/{preset.rel_path}"

    # ------------------------------------------------------------------ the browser

    def _ready_session(self, stack: ExitStack) -> RenderSession:
        """Return the session, started at the first preset that needs it and renewed every `refreshEvery` presets."""
        if self._session is None:
            self._session = stack.enter_context(RenderSession(self._environment, self._plan.parameters))
            check_renderer(self._session.describe(), self._plan.page, self._plan.parameters)
            self._warm_up(self._session)
        elif self._with_this_browser >= self._plan.parameters.refresh_every:
            self._recover(self._session, replace_browser=True)
        return self._session

    def _recover(self, session: RenderSession, *, replace_browser: bool = False) -> str:
        took = session.recover(replace_browser=replace_browser)
        if took == "browser":
            self._warm_up(session)
        return took

    def _warm_up(self, session: RenderSession) -> None:
        self._with_this_browser = 0
        if self._plan.parameters.prewarm:
            prewarm(session, self._plan.parameters)

    # ------------------------------------------------------------------ stopping, telling

    def _check_stop(self) -> None:
        deadline = self._plan.deadline_epoch_s
        reason = self._listeners.should_stop() if self._listeners.should_stop is not None else None
        if reason is None and deadline is not None and time.time() >= deadline:
            reason = TIME_IS_OVER
        if reason is not None:
            self._stop_reason = reason
            raise _StoppedError(reason)

    def _count(self, record: Record) -> None:
        if isinstance(record, OkRecord):
            self._ok += 1
        else:
            self._failed += 1

    def _report_progress(self) -> None:
        done, total = self._ok + self._failed, len(self._plan.presets)
        if done % self._plan.parameters.log_every and done != total:
            return
        elapsed_s = time.monotonic() - self._started_s
        rate = (done - self._reused) / elapsed_s if elapsed_s > 0 else 0.0
        left_s = (total - done) / rate if rate > 0 else 0.0
        self._listeners.say(
            f"{self._plan.batch_key} {self._plan.name}: {done}/{total}, ok {self._ok}, failed {self._failed}, "
            f"{rate:.2f} presets/s, {left_s:.0f} s left"
        )

    def _pause(self) -> None:
        end = time.monotonic() + (self._plan.parameters.preset_delay_ms or 0) / 1000
        while (left_s := end - time.monotonic()) > 0:
            time.sleep(min(left_s, _NAP_S))
