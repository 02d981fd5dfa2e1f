"""Drafts that nobody waits for: kept in a database until they are made and fetched."""
