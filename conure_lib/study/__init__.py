"""Studies: runs of methods on a stream, the paper's experiments, their settings and notebooks.

May import everything up to ``pipeline``; knows no statistics and draws nothing.
"""
