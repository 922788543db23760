"""Cohorts that a hospital registered: label files, checks, snapshots, splits, exclusions."""
