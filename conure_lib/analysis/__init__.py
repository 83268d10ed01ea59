"""Statistics, tables, costs and verdicts on the paper's claims, derived from stored results.

Draws nothing and trains nothing.
"""
