"""Drift, the edge's half: what inputs and answers look like, as sketches that may leave the device."""
