"""Serves the dashboard: the files that ``ui/`` was built into, under ``static/`` beside this module."""
