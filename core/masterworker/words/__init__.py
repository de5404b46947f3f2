"""The shared vocabulary: records, paths, limits and errors. No I/O, no clock, no threads."""
