"""Attestations: signed statements about a release that a policy can ask for before anyone publishes it."""
