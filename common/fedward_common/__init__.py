"""What hospitals and coordinator agree on; imports neither side."""
