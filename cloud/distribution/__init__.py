"""Distribution: signed metadata as retained messages, and model bytes as chunks published once for all."""
