"""Classifiers of findings, whose calibrated opinions a draft is held against."""
