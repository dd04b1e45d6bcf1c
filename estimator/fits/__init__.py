"""`estimator fit`: does a model fit, with which other settings would it, and how far could it go.

choices.py asks the one judgement on memory (needs.py) again and again, text.py writes the answer, command.py is both
for the options of the command line.
"""
