"""Stages of training: what each one depends on, where its results are kept, and how a graph is computed.

``stage`` (specification, id, computation), ``store`` (a user's own results and the committed evidence),
``scheduler`` (a plain loop or Dask), ``provenance`` (code, versions and processor). May import config,
files, data, models, training and methods.
"""
