"""What scripts/bench runs: one module a kind of benchmark, and what they share."""
