"""Thin adapters between web frameworks and the handler: translate a request, call, translate back."""
