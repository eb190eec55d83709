"""A render page that lets any JavaScript through, to try what stands behind the allow-list for equations."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from aivj_assets.render.environment import RenderEnvironment

LAX_SCRIPT = 'export const checkScript = (text) => ({ text, offence: "" });\n'
LAX_REALM = "export const reduceRealm = () => {};\n"


def _with_pages_of_its_own(environment: RenderEnvironment, page_dir: Path, files: dict[str, str]) -> RenderEnvironment:
    shutil.copytree(environment.page_dir, page_dir)
    for name, text in files.items():
        assert (page_dir / name).is_file()
        (page_dir / name).write_text(text, encoding="utf-8", newline="\n")
    return replace(environment, page_dir=page_dir)


@pytest.fixture(scope="session")
def lax_environment(
    render_environment: RenderEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> RenderEnvironment:
    """Our own page without its allow-list: the walls behind must hold by themselves."""
    page_dir = tmp_path_factory.mktemp("lax") / "page"
    return _with_pages_of_its_own(render_environment, page_dir, {"script.js": LAX_SCRIPT})


@pytest.fixture(scope="session")
def open_environment(
    render_environment: RenderEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> RenderEnvironment:
    """Our own page without its allow-list and with all that a page can call: the browser's own walls must hold."""
    page_dir = tmp_path_factory.mktemp("open") / "page"
    files = {"script.js": LAX_SCRIPT, "reduce_realm.js": LAX_REALM}
    return _with_pages_of_its_own(render_environment, page_dir, files)
