"""What several figures share, and the cells and tasks that only figures need."""
