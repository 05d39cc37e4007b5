"""Bringing a release to a fleet in waves, and back again when the first devices say no."""
