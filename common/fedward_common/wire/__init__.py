"""Typed messages, their one canonical encoding, and the signed frame they travel in."""
