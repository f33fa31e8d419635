"""A court to play on: ball, launcher, engines, environments."""
