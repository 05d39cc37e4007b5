"""Real processes on this machine: broker, coordinator, SuperLink, agents."""
