"""Ingest: from what devices publish to what the coordinator has committed and acknowledged."""
