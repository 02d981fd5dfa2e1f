"""Vocabularies an operator is licensed for, each imported into a sealed layer of its own beside the ontology."""
