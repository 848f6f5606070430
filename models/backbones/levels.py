"""The pyramid levels that a network of four stages gives."""

LEVELS = ("P2", "P3", "P4", "P5")
