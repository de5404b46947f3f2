"""A long steady load on a real cluster, and a judgement of whether anything grows with it."""
