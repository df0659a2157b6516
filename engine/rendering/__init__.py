"""Drawing avatars with OpenGL: the performer's camera, snapshots, and the viewer's meshes."""
