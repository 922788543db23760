"""What a cohort holds: for the hospital's own eyes, and for a coordinator's."""
