"""Studies: runs of methods on a stream, the paper's experiments, their settings and notebooks.

Knows no statistics and draws nothing.
"""
