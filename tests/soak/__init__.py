"""A long steady load on a real cluster, and a check whether any resource grows with it."""
