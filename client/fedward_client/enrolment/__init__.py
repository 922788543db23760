"""How a site joins a consortium, stays in it, and leaves: keys are made here and never sent."""
