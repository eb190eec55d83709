"""The walls of the house: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from aivj_assets.layout import project_root

PACKAGE = project_root() / "aivj_assets"
ROOMS = ("packs", "render", "embed", "cluster", "style", "qa", "show", "report")
COMMON = {"contracts", "layout", "errors"}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def own_parts(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("aivj_assets.")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_contracts_and_layout_and_no_other_room(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    foreign = {path.name: own_parts(path) - COMMON - {room} for path in files}
    assert {name: parts for name, parts in foreign.items() if parts} == {}


def test_contracts_import_no_room() -> None:
    foreign = {path.name: own_parts(path) - COMMON for path in (PACKAGE / "contracts").rglob("*.py")}
    assert {name: parts for name, parts in foreign.items() if parts} == {}


def test_only_orchestration_and_definitions_import_dagster() -> None:
    allowed = {PACKAGE / "definitions.py", *(PACKAGE / "orchestration").rglob("*.py")}
    users = {
        path for path in PACKAGE.rglob("*.py") if any(name.split(".")[0] == "dagster" for name in imports_of(path))
    }
    assert users
    assert users <= allowed
