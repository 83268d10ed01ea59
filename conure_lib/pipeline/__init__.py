"""Stages of training: what they depend on, where results are kept, how a graph is computed.

May import everything up to ``methods``; knows no studies.
"""
