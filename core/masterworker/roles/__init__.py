"""Layer 4: the roles. Master, worker and client each run one loop around the decisions."""
