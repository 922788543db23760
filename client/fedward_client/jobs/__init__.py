"""What a hospital decides about jobs: its rules, its yes or no, and what it may look at."""
