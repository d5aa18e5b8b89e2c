"""What is answered on this machine: status, metrics, health, the service manager."""
