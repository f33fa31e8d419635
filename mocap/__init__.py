"""Motion capture in, robot motion out."""
