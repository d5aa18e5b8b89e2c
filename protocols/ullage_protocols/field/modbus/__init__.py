"""Modbus/TCP, read only: addresses and tags, read planning, decoding, strict replies, the client."""
