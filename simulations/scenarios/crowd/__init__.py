"""Thousands of virtual devices that speak the real messages to a real coordinator."""
