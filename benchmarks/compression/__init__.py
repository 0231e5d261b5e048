"""What compression costs and saves: sweeps of bundles, their quality and speed, sensitivity of layers, the report."""
