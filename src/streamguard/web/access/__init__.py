"""Who asks, from where, and how much one process allows them."""
