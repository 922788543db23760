"""From the hospital's files to the arrays that a job trains on."""
