"""`estimator models --min-speed`: which models of the catalogue a machine runs that fast.

ranked.py asks `predict` about each, text.py writes the table, command.py is both for the options of the command line.
"""
