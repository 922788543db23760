"""The job: what to train, as data, never code."""
