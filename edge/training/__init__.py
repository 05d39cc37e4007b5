"""Learning on the device: its data sets, its labels, and the resident trainer that a federated run talks to."""
