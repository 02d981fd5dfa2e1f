"""Decoding from several branches of one model at once: the arithmetic, its presets, the bias, and generators."""
