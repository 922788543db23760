"""Programs that print the figures of docs/RESULTS.md."""
