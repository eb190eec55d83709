"""The audio -> style model for a person: what it was trained on, the comparison, the verdict."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from aivj_assets.contracts.audio_style_model import AudioStyleModel, Comparison, Evidence, ModelEvaluation, Score

COMPARED = ("held-out tracks", "log-loss", "top 1", "top 3", "top 5", "model less it", "95% interval")


def compared_rows(evaluation: ModelEvaluation) -> list[tuple[str, ...]]:
    """Return the rows of the comparison: model, baseline, control; a dash where there is no figure."""
    return [
        _row("model", evaluation.model, None),
        _row("style frequency in each tier", evaluation.baseline, evaluation.against_baseline),
        _row("model of shuffled audio", evaluation.control, evaluation.against_control),
    ]


def _row(name: str, score: Score | None, against: Comparison | None) -> tuple[str, ...]:
    figures = (None,) * 4 if score is None else (score.log_loss, score.top1, score.top3, score.top5)
    texts = ["-" if figures[0] is None else f"{figures[0]:.4f}"]
    texts += ["-" if top is None else f"{top * 100:.0f}%" for top in figures[1:]]
    compared = ("", "") if against is None else (
        f"{against.difference:+.4f}", f"{against.interval.low:+.4f} to {against.interval.high:+.4f}"
    )  # fmt: skip
    return (name, *texts, *compared)


def evidence_rows(evidence: Evidence) -> list[tuple[str, int]]:
    """Return what a model was trained on and what does not count, with counts."""
    rows = [("logs of shows", evidence.logs), *((f"picks {said}", n) for said, n in evidence.counted.items())]
    more = {
        "of them under earlier publications": evidence.other_indexes,
        "presets by reactivity (train only)": evidence.reactivity,
        "pairs by energy (train only, circular)": evidence.circular,
    }
    rows += [(name, count) for name, count in more.items() if count]
    return rows + [(f"left out: {reason}", count) for reason, count in evidence.left_out.items()]


def print_audio_style(console: Console, made: AudioStyleModel) -> None:
    """Print evidence, comparison and verdict."""
    for name, count in evidence_rows(made.evidence):
        console.print(f"{name}: {count}", highlight=False, markup=False, soft_wrap=True)
    if made.evaluation.model is not None:
        table = Table(box=box.SIMPLE, pad_edge=False)
        for place, heading in enumerate(COMPARED):
            table.add_column(heading, justify="left" if place == 0 else "right")
        for row in compared_rows(made.evaluation):
            table.add_row(*row)
        console.print(table)
    if made.circular:
        console.print("Circular: the model was also trained on the rule that energy fits tier.", highlight=False)
    console.print(made.verdict, highlight=False, markup=False, soft_wrap=True)
