"""Scenario `poison`: what one liar in five can do to a federated run."""
