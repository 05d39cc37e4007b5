"""The contracts both sides hold: identities, topics, messages, bundles, trust, sketches."""

from __future__ import annotations

import os

TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1"}
"""ONNX Runtime since 1.29 keeps a device id and a database in the home directory and reports to its makers, unless
this is in the environment before it is imported (github.com/microsoft/onnxruntime/pull/27379)."""

os.environ.update(TELEMETRY_OFF)  # here, because everything of ours that imports a runtime imports this package first
