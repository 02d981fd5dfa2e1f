"""The faces of Prelim: the command prelim."""
