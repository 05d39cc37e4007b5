"""Federated runs on Flower: the doors of the SuperLink, runs, rounds, gates and ledgers."""
