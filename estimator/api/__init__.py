"""Models behind an API: what calibration knows of their latency, which one a name means, the answer, its text.

Nothing here knows tensors or machines: an API is a constant, a price a token, and their spread.
"""
