"""Speed, latency and accuracy, against peers where they can run."""
