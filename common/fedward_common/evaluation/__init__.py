"""Sums that merge exactly across sites, and the figures derived from them."""
