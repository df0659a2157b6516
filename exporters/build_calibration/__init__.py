"""What ``exporters.calibrate_build`` is made of: drawn people, and the fit to what is seen."""
