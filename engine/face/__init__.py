"""SARS module 2, live: head pose, expressions and gaze from face landmarks."""
