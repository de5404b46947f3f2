"""Layer 1: the shared vocabulary of records, paths, limits and errors. No I/O, clock or threads."""
