"""The round loop, its aggregation and its journal."""
