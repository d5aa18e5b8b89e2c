"""The faces of a plant or of a recorded history: real servers on real sockets."""
