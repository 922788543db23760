"""A cohort as one job sees it: arrays built once for a job, memory-mapped."""
