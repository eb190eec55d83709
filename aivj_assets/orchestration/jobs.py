"""The jobs: everything of one batch, and the publication of one pack."""

import dagster as dg

from aivj_assets.orchestration.stages import STAGES

batch_job = dg.define_asset_job(
    "batch_job",
    # Assets with their checks: gates run right after `frames`.
    selection=dg.AssetSelection.assets(*STAGES),
    description="The main job: presets → frames → gates → embeddings → clusters → style → QA samples → run record.",
)
publish_job = dg.define_asset_job(
    "publish_job",
    selection=dg.AssetSelection.assets("publication"),
    description="Writes public/presets/<pack>/aivj-*.json from the pack's accepted batches.",
)
gate_report_job = dg.define_asset_job(
    "gate_report_job",
    selection=dg.AssetSelection.assets("gate_report"),
    description="Writes artifacts/aivj/gates.html: which batch stands where; seconds.",
)
style_map_job = dg.define_asset_job(
    "style_map_job",
    selection=dg.AssetSelection.assets("style_map"),
    description="Lays the pack's accepted presets out in the plane and writes qa-samples/map.html; minutes.",
)
reactivity_job = dg.define_asset_job(
    "reactivity_job",
    selection=dg.AssetSelection.assets("reactivity"),
    description="Renders a sample under several sounds and silence: which presets move with the sound; minutes.",
)
k_report_job = dg.define_asset_job(
    "k_report_job",
    selection=dg.AssetSelection.assets("k_report"),
    description="Sweeps the number of clusters over the pack's accepted batches and writes the page; minutes.",
)
audio_style_model_job = dg.define_asset_job(
    "audio_style_model_job",
    # The publication last: it reads the recorded check.
    selection=dg.AssetSelection.assets("audio_style_model", "audio_style_publication"),
    description="Learns from the pack's shows which styles fit what is heard; publishes the model if it is better.",
)
rehearsal_job = dg.define_asset_job(
    "rehearsal_job",
    # With its check.
    selection=dg.AssetSelection.assets("rehearsal"),
    description="Plays a track, given or generated, through the selector and judges what it picked; a page, minutes.",
)

PACK_JOBS = frozenset(
    job.name for job in (publish_job, style_map_job, reactivity_job, k_report_job, audio_style_model_job, rehearsal_job)
)
"""Jobs over packs: a pack that is not split has the name of its batch, and their runs make nothing of a batch."""
