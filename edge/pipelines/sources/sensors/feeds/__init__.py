"""One protocol a file; each imports its library when a sensor of that kind is opened."""
