"""The learning rate of a site's steps; the coordinator has the same where it takes the step."""

from fedward_common.job.learning_rate import learning_rate_at

__all__ = ["learning_rate_at"]
