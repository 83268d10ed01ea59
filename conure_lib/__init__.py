"""Conure: one user model learns one task after another and forgets nothing.

A thin library behind the notebooks of the study. Data flows one way through its modules: paths, config,
data, model, ownership, losses, evaluate, train, methods, experiment, stats, report, bench, cli.
"""

__version__ = "0.1.0"
