"""Image-report pairs to an index: the command prelim-index."""
