"""Quotas in a stream's life: reserved before it begins, kept while it runs, settled once in its end or after it."""
