"""The fault campaign: a cluster under load and under a seeded schedule of faults, then an analysis.

`python -m tests.chaos --minutes 20 --seed 1` runs one. The driver (schedule, stage, faults, load)
only causes faults and records what it did. Afterwards the analysis (judge) decides from the
servers' transaction logs and the journals whether a promise was broken.
"""
