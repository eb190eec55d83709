"""A show's log, `<time>.jsonl`: what was picked and why, what the person did, how long each preset stayed.

One JSON object a line, told apart by `kind`. The show's page and the rehearsal write it, the audio -> style model
learns from it. Times are seconds of the show's clock, which begins with the track's and goes on while music is heard: a
seek is no time that passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from aivj_assets.contracts.audio_timeline import TrackFacts
from aivj_assets.contracts.base import ContractModel, first_problem
from aivj_assets.contracts.style import Energy, RelaxableRule
from aivj_assets.errors import UserError

# Candidates that a line lists; a tier of a large library has thousands.
LISTED_CANDIDATES = 8

PickReason = Literal["start", "phrase", "bar", "beat", "wait", "noBeat", "section", "tier", "skip", "failed"]
"""Why now: the first pick; a switch that was due met a phrase, a bar or a beat, waited as long as it may, or had no
beat to wait for; a new section; another tier; the person skipped; the preset before could not be shown."""
EndReason = Literal["switch", "section", "tier", "skip", "stop", "failed"]
"""Why a preset left: the timer of its dwell (censored: nobody said anything), the music, the person, the show's end;
`failed`: it could not be shown or stopped to draw, which says nothing about whether it was liked."""


class SessionLine(ContractModel):
    """The first line of a show."""

    kind: Literal["session"] = "session"
    version: Literal["v0"] = "v0"
    source: Literal["show", "rehearsal"]
    started_at: str
    pack: str
    index_hash: str
    """SHA-256 of the published `aivj-style-index.v1.json`, hex."""
    seed: int
    track: TrackFacts
    model_hash: str | None = None
    """SHA-256 of the published audio -> style model that took part; None when the rule alone picked."""


class Candidate(ContractModel):
    """A preset that could have been picked, and how likely it was."""

    preset_id: str
    cluster: str
    probability: float = Field(ge=0, le=1)


class PickLine(ContractModel):
    """A pick."""

    kind: Literal["pick"] = "pick"
    number: int = Field(ge=0)
    time_s: float
    track_time_s: float | None = None
    """Where in the track that was; None: at `time_s`, nobody sought."""
    tier: Energy
    """What the music asks for; the preset's own energy differs where the rule `tier` was relaxed."""
    features: dict[str, float]
    candidate_count: int = Field(ge=1)
    candidates: list[Candidate]
    """The likeliest, at most `LISTED_CANDIDATES`, likeliest first, ties by presetId."""
    preset_id: str
    cluster: str
    energy: Energy
    probability: float = Field(ge=0, le=1)
    relaxed: list[RelaxableRule] = Field(default_factory=list)
    """Rules that left nothing and gave way, in the order of the policy's `relaxOrder`."""
    reason: PickReason
    favourite: bool = False
    """Whether the pick was made among favourites, which do not heed the cluster cooldown."""
    index_hash: str


class ActLine(ContractModel):
    """What the person did, to the preset that was on screen."""

    kind: Literal["act"] = "act"
    time_s: float
    act: Literal["skip", "favourite", "unfavourite", "hold", "release", "blacklist"]
    preset_id: str


class EndLine(ContractModel):
    """A preset left the screen."""

    kind: Literal["end"] = "end"
    number: int = Field(ge=0)
    time_s: float
    preset_id: str
    cluster: str
    dwell_s: float = Field(ge=0)
    ended_by: EndReason
    held_s: float = Field(0, ge=0)
    """So much of the dwell the person held it on screen."""
    error: str | None = None
    """Why the preset could not be shown, where `endedBy` is `failed`."""


ShowLine = Annotated[SessionLine | PickLine | ActLine | EndLine, Field(discriminator="kind")]
_LINE: TypeAdapter[SessionLine | PickLine | ActLine | EndLine] = TypeAdapter(ShowLine)


def parse_show_line(value: Any) -> SessionLine | PickLine | ActLine | EndLine:
    """Return a line from its JSON object; raises `UserError` with the place and the problem."""
    try:
        return _LINE.validate_python(value)
    except ValidationError as error:
        raise UserError(f"The line is not as agreed: {first_problem(error)}.") from None


def read_show_log(path: Path) -> Iterator[SessionLine | PickLine | ActLine | EndLine]:
    """Yield the lines of a log; a torn last line is dropped. Raises `UserError` with file and line number."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    whole, newline, torn = text.rpartition("\n")
    for number, line in enumerate((whole + newline).splitlines() if newline else [], start=1):
        if not line.strip():
            continue
        try:
            yield _LINE.validate_json(line)
        except ValidationError as error:
            raise UserError(f"{path}, line {number} is not as agreed: {first_problem(error)}.") from None
    del torn


def show_lines(lines: Iterable[ContractModel]) -> str:
    """Return lines as the text of a log."""
    return "".join(line.model_dump_json(by_alias=True, exclude_none=True) + "\n" for line in lines)


def selection_log_line(preset_id: str, *, motion: float | None = None, quality_tier: str | None = None) -> str:
    """Return the app's own one-line selection log of a pick (CONTRACTS); what is not known is left out.

    `motion` (0..1) is rounded as JavaScript's `toFixed` does it, 0.125 to 0.13.
    """
    parts = [f"selected preset {preset_id} (aivj-style)"]
    if motion is not None:
        parts.append(f"[m={Decimal(motion).quantize(Decimal('0.01'), ROUND_HALF_UP)}]")
    if quality_tier is not None:
        parts.append(f"[tier={quality_tier}]")
    return " ".join(parts)
