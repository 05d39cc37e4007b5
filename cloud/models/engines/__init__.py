"""The engine factory: a release's files for GPUs, each built by a process of its own."""
