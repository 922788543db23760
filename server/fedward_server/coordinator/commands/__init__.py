"""What a coordinator asks for: plan, launch, watch, stop, results; one module a command."""
