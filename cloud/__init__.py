"""The coordinator: one package a station of the loop."""
