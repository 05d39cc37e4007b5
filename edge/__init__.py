"""The agent: what runs on a device."""
