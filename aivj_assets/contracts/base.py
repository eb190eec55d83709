"""What all file formats share: camelCase names in files, unknown fields kept, one-line errors."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from aivj_assets.errors import UserError
from aivj_assets.layout import write_json_atomic

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def utc_now() -> str:
    """Return the time as ISO-8601 UTC with milliseconds, e.g. `2026-01-31T12:00:00.000Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ContractModel(BaseModel):
    """Base of the file formats: snake_case in Python, camelCase in files, unknown fields survive a rewrite."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", ser_json_inf_nan="null", allow_inf_nan=False
    )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that goes into a file: aliases, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ContractFile(ContractModel):
    """A format that fills a whole JSON file."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and validate a file; raises `UserError` with the file's name, the place and the problem."""
        try:
            return cls.model_validate(_parse(path.read_text(encoding="utf-8-sig")))
        except FileNotFoundError:
            raise UserError(f"{path} does not exist.") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
        except ValidationError as error:
            raise UserError(f"{path} is not as agreed: {first_problem(error)}.") from None
        except (ValueError, RecursionError) as error:
            # ValueError: also bytes that are not UTF-8, and numbers of thousands of digits.
            raise UserError(f"{path} is not JSON: {error}.") from None

    def save(self, path: Path) -> None:
        """Write the file whole."""
        write_json_atomic(path, self.to_json())

    def save_if_changed(self, path: Path) -> bool:
        """Write the file unless it says the same already, whenever it was generated; returns whether it was written."""
        new = self.to_json()
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            old = None
        if isinstance(old, dict) and {**old, "generatedAt": None} == {**new, "generatedAt": None}:
            return False
        write_json_atomic(path, new)
        return True


def _parse(text: str) -> Any:
    """Parse JSON; half of a surrogate pair is refused (`ValueError`): no file could be written with it."""
    value = json.loads(text)
    if _SURROGATE_ESCAPE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a validation as one line, with how many follow."""
    problems = error.errors(include_url=False)
    where = ".".join(str(part) for part in problems[0]["loc"]) or "the file"
    text = f"{where}: {problems[0]['msg']}".replace("\n", " ")
    return text if len(problems) == 1 else f"{text} (and {len(problems) - 1} more)"
