"""What can be seen of a running service from outside: figures, traces and lines, of ids, counts and codes only."""
