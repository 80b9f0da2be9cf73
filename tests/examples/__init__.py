"""The example application on a real server, and its page in a real browser."""
