"""The optimising station: gauge the float model on devices, merge what they saw, quantise.

`calibration_graph` → devices run it (`shared.calibration.read_ranges`) → `merge_ranges` → `quantise`.
"""

from __future__ import annotations

from cloud.models.calibrate import calibration_graph
from cloud.models.quantise import quantise
from shared.calibration import merge_ranges

__all__ = ["calibration_graph", "merge_ranges", "quantise"]
