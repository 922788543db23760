"""Decoded images in their own values, kept for all jobs."""
