"""Stages of training: what they depend on, where results are kept, how a graph is computed.

Knows no studies.
"""
