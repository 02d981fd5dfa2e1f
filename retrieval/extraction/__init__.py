"""Reading reports: text to concept mentions, and what of a report belongs to an earlier study."""
