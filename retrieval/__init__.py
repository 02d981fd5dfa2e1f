"""The ground floor: words, pixels, gate, sections, encoders, stores and the retriever."""
