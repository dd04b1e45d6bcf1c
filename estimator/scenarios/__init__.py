"""A team's own cases with limits, checked in CI: `estimator scenarios check FILE`.

file.py reads the TOML file, check.py judges each limit against the answer of `predict`, text.py writes the table.
"""
