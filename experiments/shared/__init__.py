"""A cell and a task that some figures need, as a user would give them."""
