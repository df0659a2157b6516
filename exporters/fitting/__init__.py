"""SMPLify over data sets: 2D joints in, the dictionary of best fits out."""
