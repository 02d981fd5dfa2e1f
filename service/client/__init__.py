"""Typed clients of the faces."""
