"""Who belongs to a consortium: certificates and the roster, as values; pure."""
