"""Images to unit vectors."""
