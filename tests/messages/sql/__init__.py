"""Tests of the SQL message store, each on every database it concerns."""
