"""Brink's dashboard: what people see. Knows the studies, and nothing knows it."""
