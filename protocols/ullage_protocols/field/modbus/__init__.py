"""Modbus over TCP, TLS and serial lines, read only: tags, planning, frames, links, decoding, the client."""
