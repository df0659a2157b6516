"""What is known of human heads before one is seen: the prior behind the identity basis."""
