"""Training runs: one directory each, resumable to the identical result."""
