"""Several runs by one command: sweeps over grid points, methods and seeds."""
