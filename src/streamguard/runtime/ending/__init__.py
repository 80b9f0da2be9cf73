"""How a stream ends: sealed, saved, charged and closed, here or by another worker, or with the process."""
