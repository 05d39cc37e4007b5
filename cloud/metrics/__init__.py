"""What the coordinator measures of itself and its fleets, for Prometheus."""
