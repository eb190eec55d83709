"""Before a batch is rendered: whether the browser starts with WebGL2 and its page answers."""

from __future__ import annotations

from dataclasses import dataclass

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets.render.page_host import OWN_PAGE_URL
from aivj_assets.render.probe import ask_prewarm, check_gpu, no_answer
from aivj_assets.render.session import BrowserError, PageUnavailableError, RenderSession
from aivj_assets.render.start_failure import software_advice

BROWSER, WEBGL, PAGE = "browser", "WebGL", "render page"


@dataclass(frozen=True)
class BrowserLook:
    """What a browser that was started once, and ended, showed; `report` is None where it showed no page."""

    findings: list[Finding]
    report: BrowserReport | None


def look_at_browser(environment: RenderEnvironment, parameters: RenderParameters) -> BrowserLook:
    """Start a browser, have its page make the prewarm call (unless `prewarm` is off) and end it.

    Seconds; a page that never answers costs `prewarmTimeoutMs`. What a user can cause is a failed finding.
    """
    try:
        with RenderSession(environment, parameters) as session:
            report = session.describe()
            page = _page_finding(session, parameters)
    except PageUnavailableError as error:
        started = Finding(BROWSER, passed=True, detail=f"{environment.executable} starts and has WebGL2")
        return BrowserLook([started, Finding(PAGE, passed=False, detail=str(error))], None)
    except UserError as error:
        return BrowserLook([Finding(BROWSER, passed=False, detail=str(error))], None)
    started = Finding(BROWSER, passed=True, detail=f"{report.browser_version} ({environment.executable})")
    return BrowserLook([started, webgl_finding(report, parameters, environment.platform), page], report)


def webgl_finding(report: BrowserReport, parameters: RenderParameters, platform: str) -> Finding:
    """Return the finding on the renderer: software warns, and fails where `requireGpu` is set."""
    try:
        check_gpu(report, parameters)
    except UserError as error:
        return Finding(WEBGL, passed=False, detail=str(error))
    if report.renderer_class == "gpu":
        return Finding(WEBGL, passed=True, detail=report.page.renderer)
    detail = f"{software_advice(report.renderer_class, platform)} This browser tells: {report.page.renderer}"
    return Finding(WEBGL, passed=False, detail=detail, severity="warning")


def _page_finding(session: RenderSession, parameters: RenderParameters) -> Finding:
    address = parameters.probe_url or OWN_PAGE_URL
    if not parameters.prewarm:
        return Finding(PAGE, passed=True, detail=f"{address} offers the function; prewarm is off, it was not called")
    try:
        answer = ask_prewarm(session, parameters)
    except BrowserError as error:
        return Finding(PAGE, passed=False, detail=no_answer(error))
    if isinstance(answer, dict) and answer.get("ok") is True:
        return Finding(PAGE, passed=True, detail=f"{address} answers")
    # The prewarm of a shard goes on then, too: what a page makes of presets is for their records to say.
    detail = f"{address} answers, but refuses the simplest preset: {str(answer)[:300]}"
    return Finding(PAGE, passed=False, detail=detail, severity="warning")
