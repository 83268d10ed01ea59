"""Speed, growth and serving cost of the library, measured on random data.

``cases`` holds what is measured, ``speed`` measures it against a plain reference, ``scaling`` how
time and memory grow with each size, ``inference`` what serving one of six tasks costs. Run them as
``python -m benchmarks.speed`` (``make bench`` runs all three). They may import everything from
``conure_lib``; nothing imports them.
"""
