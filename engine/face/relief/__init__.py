"""A face's relief: wrinkles and folds below what a morphable model holds, read from shading."""
