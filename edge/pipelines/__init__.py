"""Pipelines: source → preprocess → model → postprocess → sinks, and what they report."""
