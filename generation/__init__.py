"""Evidence to a draft."""
