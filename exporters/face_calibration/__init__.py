"""Where the face landmark network sees Anny, and how its landmarks answer to expressions."""
