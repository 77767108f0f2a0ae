"""The store: what is kept, and the transactions that change it. SQL lives here and nowhere else."""
