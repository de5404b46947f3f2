"""The fault campaign: a cluster under load and under a seeded schedule of faults, then a judge.

`python -m tests.chaos --minutes 20 --seed 1` runs one. The driver (schedule, stage, faults, load)
only makes things go wrong and writes down what it did; the judge decides afterwards, from the
servers' transaction logs and the journals, whether a promise was broken.
"""
