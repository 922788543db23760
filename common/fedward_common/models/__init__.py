"""Architectures by name, and their weights as one flat, checked vector."""
