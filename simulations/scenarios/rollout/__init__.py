"""Forty devices, one good release, and releases that must never reach more than their canaries."""
