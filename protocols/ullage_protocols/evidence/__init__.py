"""Evidence that can be checked without trust in its sender: a bundle, and the verifier that takes it apart."""
