"""Background healing: what dead workers left behind."""
