"""A trained detector at work: SavedModels, and detection on image files."""
