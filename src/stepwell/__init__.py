"""Stepwell: durable, event-driven functions for Python."""
