"""What is measured once, over the whole library."""

from __future__ import annotations

import os
from typing import Any

from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.bench.scale.rehearse import ScaleState
from aivj_assets.orchestration.bench.scale.sensor_times import measure_sensors
from aivj_assets.orchestration.bench.scale.ui_times import measure_ui
from aivj_assets.orchestration.instance import open_instance


def measure_end(root: DataRoot, state: ScaleState, *, ui: bool) -> dict[str, Any]:
    """Return the sensors' times and, with `ui`, the UI's."""
    with open_instance(root, os.environ) as instance:
        sensors = measure_sensors(instance)
    shown = measure_ui(root, BatchKey.parse(state.batches[-1].batch)) if ui else None
    return {"sensors": sensors, "ui": shown}
