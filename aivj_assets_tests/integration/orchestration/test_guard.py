"""Nothing is made from a batch that is not accepted, in whatever order assets and checks are run; the bypass is marked.

The property test holds the guard against a model of its own: what was materialised, from which contents, and what the
last check said of that very materialisation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands.bypass import stages_past_the_gates
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.stages import STAGES, ancestors
from aivj_assets_tests.builders import seed_storage, write_frames_meta, write_index
from aivj_assets_tests.house import House

BATCHES = (BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002"))
MADE = ("presets", "frames", "embeddings", "clusters", "style_index", "style_policy")
COUNT = 8


@dataclass
class Made:
    """A materialisation in the model: the content it has, the contents it was made from, what its checks said of it."""

    content: object
    inputs: dict[str, object]
    verdict: bool | None


@dataclass
class Model:
    """What is known of one batch. `frames` is what lies on disk as frames: (how many times rendered, whether good)."""

    frames: tuple[int, bool] = (0, True)
    made: dict[str, Made] = field(default_factory=dict)

    def accepted(self, stage: str) -> bool:
        one = self.made.get(stage)
        if one is None or (STAGES[stage].blocking_checks and one.verdict is not True):
            return False
        if stage == "frames" and one.content != self.frames:
            return False
        return all(name in self.made and self.made[name].content == one.inputs[name] for name in STAGES[stage].inputs)

    def may_make(self, stage: str) -> bool:
        return all(self.accepted(name) for name in ancestors(stage))

    def makes(self, stage: str, *, checked: bool) -> None:
        inputs = {name: self.made[name].content for name in STAGES[stage].inputs}
        # The hall's stand-in embeds a batch always alike, and what follows is written only where it says something new.
        content: object = self.frames if stage == "frames" else stage
        self.made[stage] = Made(content, inputs, self.says(stage) if checked else None)

    def says(self, stage: str) -> bool:
        """What the checks of a stage find: frames are good or not; what follows is sound when it was made."""
        return self.frames[1] if stage == "frames" else True


class Walk:
    """Two batches of a data root beside their model."""

    def __init__(self, root: DataRoot, instance: dg.DagsterInstance) -> None:
        self.house = House(root, instance)
        self.house.weights = "a" * 64
        self.ids = {batch: self.house.add(batch, COUNT) for batch in BATCHES}
        self.models = {batch: Model() for batch in BATCHES}

    def render(self, batch: BatchKey, *, good: bool) -> None:
        """Lay other frames down, as a rendering does before it is materialised."""
        model = self.models[batch]
        times = model.frames[0] + 1
        luma = [0.1 + 0.001 * times + (0.08 * number if good else 0) for number in range(COUNT)]
        write_index(self.house.root, batch.key, self.ids[batch], luma=luma)
        write_frames_meta(self.house.root, batch.key)
        model.frames = (times, good)

    def make(self, batch: BatchKey, stage: str, *, checked: bool) -> None:
        model, run = self.models[batch], self.house.make(batch, stage, checks=checked)
        happened = stage in materialised(run)
        assert happened == model.may_make(stage), (batch, stage, model, self.house.told(run))
        if happened:
            model.makes(stage, checked=checked)

    def judge(self, batch: BatchKey, stage: str) -> None:
        model = self.models[batch]
        self.house.judge(batch, stage)
        one = model.made.get(stage)
        if one is not None and STAGES[stage].blocking_checks:
            # Of frames the checks judge those that lie there.
            one.verdict = model.says(stage)

    def compare(self) -> None:
        for batch, model in self.models.items():
            for stage in MADE:
                problem = acceptance_problem(self.house.instance, self.house.root, batch, stage)
                expected = model.accepted(stage) and model.may_make(stage)
                assert (problem is None) == expected, (batch, stage, problem, model)


def materialised(run: dg.ExecuteInProcessResult) -> set[str]:
    return {
        event.asset_key.to_user_string()
        for event in run.all_events
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key
    }


STEPS = st.one_of(
    st.tuples(st.just("make"), st.sampled_from(BATCHES), st.sampled_from(MADE), st.booleans()),
    st.tuples(st.just("make"), st.sampled_from(BATCHES), st.sampled_from(MADE[:4]), st.just(True)),
    st.tuples(st.just("judge"), st.sampled_from(BATCHES), st.sampled_from(MADE[1:3]), st.just(True)),
    st.tuples(st.just("render"), st.sampled_from(BATCHES), st.just("frames"), st.booleans()),
)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], DataRoot]:
    def made() -> DataRoot:
        root = DataRoot(tmp_path_factory.mktemp("walk") / "root")
        seed_storage(root, tmp_path_factory)
        return root

    return made


@settings(
    max_examples=6, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(steps=st.lists(STEPS, min_size=14, max_size=22))
def test_nothing_is_ever_made_from_what_is_not_accepted(
    storage: Callable[[], DataRoot], steps: list[tuple[str, BatchKey, str, bool]]
) -> None:
    root = storage()
    with open_instance(root, {}) as instance:
        walk = Walk(root, instance)
        for batch in BATCHES:
            # One batch is accepted when the walk begins: else most walks would end at the first stage.
            for stage in MADE if batch == BATCHES[0] else MADE[:1]:
                walk.make(batch, stage, checked=True)
        for what, batch, stage, flag in steps:
            if what == "make":
                walk.make(batch, stage, checked=flag)
            elif what == "judge":
                walk.judge(batch, stage)
            else:
                walk.render(batch, good=flag)
        walk.compare()


PAST = ("embeddings", "clusters", "style_index", "style_policy", "qa_samples", "run_record")


def flat(house: House, batch: BatchKey, ids: list[str]) -> None:
    """Render a batch whose pictures are all alike in brightness: `luma_range` rejects it."""
    write_index(house.root, batch.key, ids, luma=[0.5] * len(ids))
    write_frames_meta(house.root, batch.key)


def test_a_look_past_the_gates_is_marked_everywhere_and_never_published(house: House) -> None:
    batch = BATCHES[0]
    ids = house.add(batch, COUNT)
    flat(house, batch, ids)
    refused = house.run(batch, "a")
    assert [line.partition(" ")[0] for line in house.told(refused)[1]] == ["luma_range"]
    assert not house.root.batch(batch).embeddings.exists()

    looked = house.make_past_the_gates(batch, PAST, "what would they look like?")
    assert looked.success, house.told(looked)
    folder = house.root.batch(batch)
    marked = (
        folder.embeddings_meta, folder.clusters, folder.style_index("v1"), folder.style_index("v0"),
        folder.style_policy, folder.qa_dir / "index.json", folder.run_meta,
    )  # fmt: skip
    for path in marked:
        mark = json.loads(path.read_bytes())["unaccepted"]
        assert (mark["reason"], mark["runId"]) == ("what would they look like?", looked.run_id), path
        assert "luma_range" in mark["passedOver"]["frames"], path
    assert "what would they look like?" in (folder.qa_dir / "index.html").read_text(encoding="utf-8")
    for stage in PAST:
        (made,) = looked.asset_materializations_for_node(stage)
        assert "luma_range" in str(made.metadata["aivj/unaccepted"].value), stage
    # It joins no lineage, freezes nothing, and publication does not take it.
    assert house.root.find_lineages() == []
    assert (house.profile().embedding, house.profile().pixels) == (None, None)
    published = house.publish("big")
    assert not published.success
    assert "no accepted batch to publish" in house.told(published)[0][0]
    assert house.published() == {}

    # The gates pass later on, without new frames: what was made past them is still not accepted.
    write_index(house.root, batch.key, ids)
    write_frames_meta(house.root, batch.key)
    assert house.make(batch, "frames", checks=True).success
    assert acceptance_problem(house.instance, house.root, batch, "frames") is None
    assert not house.publish("big").success

    assert house.run(batch, "a").success
    assert house.accepted(batch)
    assert not [path for path in marked if "unaccepted" in json.loads(path.read_bytes())]
    assert "past the gates" not in (folder.qa_dir / "index.html").read_text(encoding="utf-8")
    assert RunMeta.load(folder.run_meta).lineage is not None
    assert house.publish("big").success


def test_what_was_made_past_the_gates_stays_out_when_its_inputs_are_accepted_as_they_are(house: House) -> None:
    """The verdict may come after all, e.g. when the checks had not been run: contents and inputs are then current."""
    batch = BATCHES[0]
    house.add(batch, COUNT)
    house.make(batch, "presets", checks=True)
    house.make(batch, "frames", checks=False)
    assert house.make_past_the_gates(batch, PAST[:1], "cannot wait").success
    assert house.judge(batch, "frames").success
    assert acceptance_problem(house.instance, house.root, batch, "frames") is None
    problem = acceptance_problem(house.instance, house.root, batch, "embeddings")
    assert problem == "'embeddings': it was made past the gates; materialise embeddings again"
    refused = house.make(batch, "clusters", checks=True)
    assert "past the gates" in house.told(refused)[0][0]
    # With the bypass still open: nothing is passed over, nothing is marked.
    assert house.make_past_the_gates(batch, PAST[:1], "out of habit").success
    assert acceptance_problem(house.instance, house.root, batch, "embeddings") is None


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_the_bypass_needs_a_reason(house: House, reason: str) -> None:
    batch = BATCHES[0]
    flat(house, batch, house.add(batch, COUNT))
    house.run(batch, "a")
    refused = house.make_past_the_gates(batch, PAST[:1], reason)
    assert not refused.success
    assert "allow_unaccepted needs a reason" in house.told(refused)[0][0]


def test_even_the_bypass_reads_only_what_was_materialised(house: House) -> None:
    batch = BATCHES[0]
    ids = house.add(batch, COUNT)
    refused = house.make_past_the_gates(batch, PAST[:1], "why not")
    assert "it is not materialised" in house.told(refused)[0][0]
    flat(house, batch, ids)
    house.run(batch, "a")
    write_index(house.root, batch.key, ids, luma=[0.4] * COUNT)
    refused = house.make_past_the_gates(batch, PAST[:1], "why not")
    assert "its files have changed since they were materialised" in house.told(refused)[0][0]


def test_the_stages_past_the_gates_are_those_after_the_first_that_is_not_accepted(house: House) -> None:
    batch = BATCHES[0]
    ids = house.add(batch, COUNT)
    with pytest.raises(UserError, match="'presets' is not made yet"):
        stages_past_the_gates(house.instance, house.root, batch)
    flat(house, batch, ids)
    house.run(batch, "a")
    assert stages_past_the_gates(house.instance, house.root, batch) == list(PAST)
    write_index(house.root, batch.key, ids)
    house.run(batch, "a")
    with pytest.raises(UserError, match="no gate to pass over"):
        stages_past_the_gates(house.instance, house.root, batch)
