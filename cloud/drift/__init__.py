"""Drift, the coordinator's half: from sketches to an alarm, and from alarms to the wish for a training run."""
