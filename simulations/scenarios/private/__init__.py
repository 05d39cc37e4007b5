"""Scenario `private`: sums without updates, noise without surprises, and a budget that ends a run."""
