"""Federated runs told to an experiment tracker."""
