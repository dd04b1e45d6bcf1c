"""Many scenarios at once: every combination of models, weight types, work and hardware, by the theory.

axes.py says which scenarios there are, works.py makes columns of them, grid.py computes (numpy is used in this folder
only), rows.py filters and sorts, output.py writes. The numbers are those of `predict` without coefficients, to the last
digits.
"""
