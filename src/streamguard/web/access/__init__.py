"""Who asks, from where, and how much one process allows: identities, origins, ids, limits."""
