"""Secure aggregation: what both halves of the protocol agree on; pure."""
