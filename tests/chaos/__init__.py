"""The fault campaign: a cluster under load and faults, and a judge of what really happened."""
