"""The HTTP API: thin routes over the store and the stations; shapes in `shared.api`."""
