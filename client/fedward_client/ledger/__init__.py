"""What a site has spent of its patients' privacy: append-only, by patient, for all jobs."""
