"""Hostile input: whatever stands in a znode or in its name, and what comes out at the other end."""
