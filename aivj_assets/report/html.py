"""Pages from templates: every value is escaped, a name that a template does not know is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aivj_assets.errors import UserError
from aivj_assets.layout import write_text_atomic

_TEMPLATES = Path(__file__).parent / "templates"


def render_template(name: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """Return a page of the template `name` as HTML; `filters` are functions that it may call, by name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name).render(**values)


def write_html(path: Path, html: str) -> None:
    """Write a page whole; raises `UserError` when it cannot be written."""
    try:
        write_text_atomic(path, html)
    except OSError as error:
        raise UserError(f"The page {path} cannot be written: {error.strerror or error}.") from None
