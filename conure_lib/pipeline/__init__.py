"""Stages of training: what they depend on, where results are kept, how a graph is computed.

``stage`` (specification, id, computation), ``store`` (one's own results, committed evidence),
``scheduler`` (a plain loop or Dask), ``provenance`` (code, versions, processor). May import config,
paths, files, data, models, training and methods.
"""
