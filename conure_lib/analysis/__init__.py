"""Statistics, tables, costs and verdicts on the paper's claims, derived from stored results.

May import everything up to ``study``; draws nothing and trains nothing.
"""
