"""Fits of models behind an API: requests from records or published tables, their laws, how far those were off."""
