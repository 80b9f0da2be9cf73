"""Applications that test workers serve."""
