"""The evidence for a fit to stored runs: what it says of what it had not seen, and what each part of it is worth."""
