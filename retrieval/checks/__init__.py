"""The checks of sentences: what in a draft or a report deserves a second look, and why; the door is `check.py`."""
