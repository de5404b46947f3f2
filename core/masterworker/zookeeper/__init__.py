"""Layer 3: access to ZooKeeper. No module outside this package imports kazoo."""
