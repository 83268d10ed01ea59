"""The network, its owner maps, and its files.

``reference`` defines the network in few lines; ``convolution``, ``layers``, ``nextitnet`` and
``padding`` compute it fast; ``ownership`` says which task owns which weight; ``checkpoint`` writes
and reads it. May import config, errors, files and data.
"""
