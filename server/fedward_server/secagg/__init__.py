"""The coordinator's side of secure aggregation: state and steps; pure."""
