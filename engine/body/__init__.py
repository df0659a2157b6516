"""SARS module 3, live: the body's kinematics, skinning, and the fit of its pose to landmarks."""
