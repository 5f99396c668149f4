"""What each time step gives to the gradient of each parameter."""
