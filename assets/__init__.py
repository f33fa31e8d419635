"""Data only: models, retargeted motions, released policies. Each folder carries its licence."""
