"""Floor 2: what to do, decided by pure functions of a snapshot and a time. No I/O."""
