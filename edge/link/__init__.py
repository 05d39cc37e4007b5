"""Link: what must reach the coordinator, and what the coordinator keeps for this device on the broker."""
