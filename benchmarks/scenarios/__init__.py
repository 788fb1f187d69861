"""The scenarios: one module each, found by its name."""
