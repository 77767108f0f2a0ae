"""Two weeks of a trial: waits, an invoked function, a cancellation, and flow control by team."""
