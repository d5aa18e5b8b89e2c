"""How devices are read: clients, rates, losses, identity, what is told of them."""
