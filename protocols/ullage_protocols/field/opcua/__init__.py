"""OPC UA, read only: devices and nodes, value mapping, the client."""
