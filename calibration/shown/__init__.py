"""What the reports of stored runs and of published measurements show alike: tables, charts, one page, one test."""
