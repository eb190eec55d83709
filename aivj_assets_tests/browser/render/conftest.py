"""A render page that lets any JavaScript through, to try what stands behind the allow-list for equations."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from aivj_assets.render.environment import RenderEnvironment

LAX_SCRIPT = 'export const checkScript = (text) => ({ text, offence: "" });\n'


@pytest.fixture(scope="session")
def lax_environment(
    render_environment: RenderEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> RenderEnvironment:
    """Our own page without its allow-list: the walls behind must hold by themselves."""
    page_dir: Path = tmp_path_factory.mktemp("lax") / "page"
    shutil.copytree(render_environment.page_dir, page_dir)
    assert (page_dir / "script.js").is_file()
    (page_dir / "script.js").write_text(LAX_SCRIPT, encoding="utf-8", newline="\n")
    return replace(render_environment, page_dir=page_dir)
