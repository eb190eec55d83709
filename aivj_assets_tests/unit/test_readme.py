"""The README tells what the code declares."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aivj_assets.cli import app as cli
from aivj_assets.contracts.gates import GATES
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.layout import project_root


@pytest.fixture(scope="module")
def readme() -> str:
    return (project_root() / "README.md").read_text(encoding="utf-8")


def test_gate_table_is_the_declaration(readme: str) -> None:
    table = re.search(r"<!-- gates -->\n(.*?)<!-- /gates -->", readme, re.DOTALL)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].strip().splitlines()[2:]]
    told = [
        [name.strip("`"), rule, required.replace("&lt;", "<").replace("&gt;", ">"), remedy]
        for name, rule, required, remedy in rows
    ]
    assert told == [[gate.name, gate.rule, f"{gate.comparison} {gate.threshold:g}", gate.remedy] for gate in GATES]


def test_every_rendering_parameter_is_named(readme: str) -> None:
    own = {"manifest", "outDir"}  # the partition says them
    names = {info.alias for info in RenderParameters.model_fields.values()} - own
    assert {name for name in names if f"`{name}`" not in readme} == set()


def test_commands_and_pictures_exist(readme: str) -> None:
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    known |= {group.name for group in cli.app.registered_groups}
    used = set(re.findall(r"(?:bin/|`)aivj(?:\.exe)? ([a-z][a-z-]*)", readme))
    assert used
    assert used <= known
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme):
        path = project_root() / picture
        assert path.is_file(), picture
        assert Path(picture).suffix == ".webp"
