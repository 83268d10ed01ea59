"""Statistics, tables, costs and verdicts."""
