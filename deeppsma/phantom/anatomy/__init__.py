"""A man's body: physique, bones, organs, and the scene that they are painted into."""
