"""Floor 4: the roles. Master, worker and client, each one loop around the decisions below."""
