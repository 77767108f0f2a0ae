"""The engine: a pure core, and thin loops around it."""
