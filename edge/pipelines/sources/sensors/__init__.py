"""Sensors that give samples: feeds of each kind, and the one engine that makes windows of what they say."""
