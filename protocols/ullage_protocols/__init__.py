"""What crosses a wire: field buses in, sealed messages out. Nothing here decides anything."""
