"""Real JavaScript clients against the example application on a real server."""
