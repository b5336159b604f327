"""A training run: its settings, its folder, and everything that happens in it."""
