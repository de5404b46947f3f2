"""For development and tests: a private ZooKeeper, and masters and workers as child processes."""
