"""Task streams: what they are, how tables become one, where each dataset comes from.

``stream`` (TaskStream, Task, on disk), ``assemble`` (tables -> stream), ``options``, ``registry``
(the datasets; ``load``), ``download``, ``text_tables``, ``sources`` (one file each).
"""
