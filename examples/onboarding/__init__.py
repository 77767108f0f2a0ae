"""What happens when somebody signs up: the example that ``./dev demo`` runs."""
