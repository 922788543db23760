"""Whole federations on one machine, through the same two apps."""
