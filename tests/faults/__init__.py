"""Faults on demand, made on the wire between a client and a real ZooKeeper."""
