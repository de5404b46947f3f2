"""Floor 1: the words everything else is said in. No I/O, no clock, no threads."""
