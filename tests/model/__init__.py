"""A model of ZooKeeper in memory, held against the real one, and the whole system run on it."""
