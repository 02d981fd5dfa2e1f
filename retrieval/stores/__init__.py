"""Where cases and vectors are kept: one contract, three stores."""
