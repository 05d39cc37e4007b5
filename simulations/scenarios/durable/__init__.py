"""A federated run that forty kills do not change."""
