"""Metrics, drawings, measurements and benchmarks: the command prelim-evaluate. Nothing imports it."""
