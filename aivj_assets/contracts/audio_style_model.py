"""`aivj-audio-style.v0.json`: which styles fit what is heard, as weights that a browser can evaluate, and the proof.

p = output(layers(clip((x - mean) / scale))) over `clusters`. x are the inputs in the order of `inputs`: window features
of `contracts.audio_timeline`, then `tier.calm`, `tier.groove`, `tier.peak` (1 for the tier of the music, else 0). An
input that is missing or no finite number counts as its mean, which is 0 after scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from aivj_assets.contracts.audio_timeline import WINDOW_FEATURES
from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.style import ENERGIES

Finite = Annotated[float, Field(allow_inf_nan=False)]
ModelKind = Literal["logistic", "mlp"]
StyleForm = Literal["one", "several"]
"""`one` style fits best (softmax, p sums to 1), or `several` may fit (a sigmoid each, as likely as it is liked)."""

TIER_INPUTS: tuple[str, ...] = tuple(f"tier.{tier}" for tier in ENERGIES)
BASE_INPUTS: tuple[str, ...] = (*WINDOW_FEATURES, *TIER_INPUTS)
"""What every show can hear; inputs of an audio embedding stand before them where there are any."""


class Layer(ContractModel):
    """A dense layer: activation(weights x + bias), weights [outputs][inputs]."""

    weights: list[list[Finite]] = Field(min_length=1)
    bias: list[Finite] = Field(min_length=1)
    activation: Literal["identity", "relu"]

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
        if len(self.weights) != len(self.bias) or len({len(row) for row in self.weights}) != 1:
            raise ValueError("weights and bias of a layer are of different lengths")
        return self


class Interval(ContractModel):
    """A confidence interval."""

    low: Finite
    high: Finite


class Score(ContractModel):
    """How well something foretells what persons said; the mean over the judged picks that were held out."""

    log_loss: Finite
    """-log p(shown style) of a pick that was liked, -log(1 - p(shown style)) of one that was skipped; natural log."""
    top1: float | None = Field(None, ge=0, le=1)
    top3: float | None = Field(None, ge=0, le=1)
    top5: float | None = Field(None, ge=0, le=1)
    """Share of the liked picks whose style is among the k likeliest; None when nothing was liked."""


class Comparison(ContractModel):
    """Mean log-loss of the model less that of another; negative: the model is better."""

    difference: Finite
    interval: Interval
    """By a bootstrap over groups."""


class ModelEvaluation(ContractModel):
    """What was found on picks of tracks that the model had not heard."""

    groups: int = Field(ge=0)
    """Tracks with a judged pick. All sessions with one track are one group: it is held out whole."""
    judged: int = Field(ge=0)
    folds: int = Field(ge=0)
    bootstraps: int = Field(ge=0)
    model: Score | None = None
    baseline: Score | None = None
    """The frequency of each style in its tier, from the training folds."""
    control: Score | None = None
    """The same model, trained anew with the audio of other picks of the same tier."""
    against_baseline: Comparison | None = None
    against_control: Comparison | None = None
    problem: str | None = None
    """Why there are no figures."""


@dataclass(frozen=True)
class ModelVerdict:
    """Whether a model is published, and why or why not in one sentence."""

    passed: bool
    sentence: str


@dataclass(frozen=True)
class ModelGate:
    """What a model must show before an app gets it."""

    name: str
    rule: str
    confidence_fraction: float
    min_groups: int
    min_judged: int
    remedy: str

    def judge(self, evaluation: ModelEvaluation) -> ModelVerdict:
        """Apply the gate; what cannot be computed does not pass."""
        why_not = self._problem(evaluation)
        if why_not is not None:
            return ModelVerdict(False, f"The rule stays: {why_not}. Try: {self.remedy}.")
        return ModelVerdict(True, f"The model is published: {self._told(evaluation)}.")

    def _problem(self, evaluation: ModelEvaluation) -> str | None:
        if evaluation.groups < self.min_groups:
            return (
                f"persons judged picks of {evaluation.groups} track{'' if evaluation.groups == 1 else 's'}, and fewer "
                f"than {self.min_groups} cannot show that the model knows more than those tracks"
            )
        if evaluation.judged < self.min_judged:
            return f"persons judged {evaluation.judged} picks, and fewer than {self.min_judged} show nothing"
        baseline, control = evaluation.against_baseline, evaluation.against_control
        if evaluation.problem is not None or baseline is None or control is None:
            return evaluation.problem or "the model could not be compared"
        if not baseline.interval.high < 0:
            return (
                "on tracks that it had not heard the model is not surely better than the frequency of styles in each "
                f"tier ({self._interval(baseline)})"
            )
        if not control.interval.high < 0:
            return f"a model of shuffled audio is not surely worse, so it is not the audio ({self._interval(control)})"
        return None

    def _told(self, evaluation: ModelEvaluation) -> str:
        against = evaluation.against_baseline
        told = "" if against is None else f" ({self._interval(against)})"
        return (
            f"on {evaluation.groups} tracks that it had not heard it foretells what persons like and skip better than "
            f"the frequency of styles in each tier{told}, and than a model of shuffled audio"
        )

    def _interval(self, found: Comparison) -> str:
        return (
            f"log-loss {found.difference:+.4f}, {self.confidence_fraction * 100:.0f}% interval "
            f"{found.interval.low:+.4f} to {found.interval.high:+.4f}"
        )


MODEL_BEATS_BASELINE = ModelGate(
    name="model_beats_baseline",
    rule="on held-out tracks the log-loss of the model is below that of the per-tier style frequencies and below that "
    "of a model of shuffled audio, both with the whole 95% interval",
    confidence_fraction=0.95,
    min_groups=5,
    min_judged=30,
    remedy="more shows with other tracks in which you skip what does not fit and mark what does (aivj show)",
)


class Evidence(ContractModel):
    """What a model was trained on; `counted` by what was said, `leftOut` by why it does not count."""

    logs: int = Field(ge=0)
    """Logs of shows that were read."""
    counted: dict[str, int]
    """Judged picks: `liked`, `skipped`."""
    left_out: dict[str, int]
    """Picks of shows, lines and logs that tell nothing: {reason: count}."""
    other_indexes: int = Field(0, ge=0)
    """Judged picks from earlier publications of the pack; cluster ids stay."""
    reactivity: int = Field(0, ge=0)
    """Presets that were rendered under several sounds; train only, never part of the proof."""
    circular: int = Field(0, ge=0)
    """Pairs made from the rule that energy fits tier; train only, never part of the proof."""


class RetrievalScore(ContractModel):
    """Where liked presets of held-out tracks stand among all presets, nearest first: 0 is first, 0.5 chance."""

    liked: int
    model_median_rank_fraction: float = Field(ge=0, le=1)
    baseline_median_rank_fraction: float = Field(ge=0, le=1)
    """With the mean of the liked presets of the tier in place of the audio."""


class Retrieval(ContractModel):
    """What is heard as a place among the presets' embeddings: normalise(matrix clip((x - mean) / scale) + bias)."""

    matrix: list[list[Finite]] = Field(min_length=1)
    """[dimensions of the embedding][inputs], by ridge regression."""
    bias: list[Finite]
    regularisation: float
    embedded_by: str
    """The presets' model card, in words: other embeddings are another space."""
    score: RetrievalScore | None = None


class AudioEmbedding(ContractModel):
    """The audio embedding that a model needs beside the window features; an app has none."""

    model: str
    """`clap:…` or `openl3`, without the path of a folder."""
    weights_sha256: str
    dim: int = Field(ge=1)
    window_s: float


class AudioStyleModel(ContractFile):
    """The model, what it was trained on and how it was judged."""

    version: Literal["v0"] = "v0"
    generated_at: str
    pack: str
    index_hash: str
    """SHA-256 of the published `aivj-style-index.v1.json` whose clusters these are, hex."""
    inputs_sha256: str
    """Over all that decides the numbers: evidence, parameters, library versions."""
    inputs: list[str] = Field(min_length=1)
    mean: list[Finite]
    scale: list[Finite]
    clip: float = Field(gt=0)
    """Scaled inputs are cut to -clip..clip: nothing was learned so far out."""
    layers: list[Layer] = Field(min_length=1)
    output: Literal["softmax", "sigmoid"]
    clusters: list[str] = Field(min_length=1)
    parameters: dict[str, Any]
    evidence: Evidence
    evaluation: ModelEvaluation
    published: bool
    """Whether it passed the gate `model_beats_baseline`."""
    verdict: str
    circular: bool
    """Whether the rule that the model is to better had a part in what it learned."""
    audio_embedding: AudioEmbedding | None = None
    retrieval: Retrieval | None = None
    retrieval_problem: str | None = None

    @model_validator(mode="after")
    def _shapes_agree(self) -> Self:
        width = len(self.inputs)
        if {len(self.mean), len(self.scale)} != {width} or any(value <= 0 for value in self.scale):
            raise ValueError("mean and scale do not go with the inputs")
        for layer in self.layers:
            if len(layer.weights[0]) != width:
                raise ValueError(f"a layer takes {len(layer.weights[0])} values where there are {width}")
            width = len(layer.bias)
        if width != len(self.clusters) or len(set(self.clusters)) != width:
            raise ValueError("the last layer does not go with the clusters")
        return self
