"""Coordinator, simulation and reports."""
