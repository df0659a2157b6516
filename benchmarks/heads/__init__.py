"""Other people's heads: drawn ICT-FaceKit identities, filmed, reconstructed and measured.

A topology and a shape space that are not ours, so nothing of the truth is in our own basis.
"""
