"""Many scenarios at once: every combination of models, weight types, work and hardware, by the theory.

axes.py says which scenarios there are, grid.py computes them (the only user of numpy in the estimator), rows.py
filters and sorts, output.py writes. The numbers are those of `predict` without coefficients, to the last digits.
"""
