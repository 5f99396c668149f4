"""What each time step contributes to the gradient of each parameter."""
