"""Stories that the simulated world can play."""
