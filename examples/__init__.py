"""Small complete apps, each run by a test."""
