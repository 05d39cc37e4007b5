"""Running models: the session port, its runtimes, and the host that swaps one release for the next."""

from shared import TELEMETRY_OFF

__all__ = ["TELEMETRY_OFF"]  # and so ONNX Runtime's is off before a module of this package imports it
