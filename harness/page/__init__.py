"""Stored runs as one HTML page that needs no network. Pure: from records to text; `harness report` writes it."""
