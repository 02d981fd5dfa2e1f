"""Language models behind HTTP: drafts written by servers elsewhere, with the errors of a network turned into ours."""
