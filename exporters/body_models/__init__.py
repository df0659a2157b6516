"""Other makers' body models, from the user's own files."""
