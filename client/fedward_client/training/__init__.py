"""Local training and evaluation on a job view."""
