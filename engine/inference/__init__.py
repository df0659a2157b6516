"""One session interface over the inference backends, the networks' catalogue and store."""
