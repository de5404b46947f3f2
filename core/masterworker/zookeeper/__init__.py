"""Floor 3: ZooKeeper. Nothing outside this package imports kazoo."""
