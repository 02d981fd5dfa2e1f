"""Study and evidence to the text that a language model is shown."""
