"""For development and tests: a private real ZooKeeper, and our own roles as child processes."""
