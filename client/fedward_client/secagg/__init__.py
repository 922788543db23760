"""A site's side of secure aggregation: state and steps; pure."""
