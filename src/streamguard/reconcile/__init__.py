"""Background healing: finishes what dead workers left behind."""
