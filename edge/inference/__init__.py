"""Running models: the session port, its runtimes, and the host that swaps one release for the next."""
