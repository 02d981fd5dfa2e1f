"""The ontology: what thoracic radiographs and their reports speak of, authored by this project."""
