"""From production to loss: cover, standard output, outages, indemnity, and the life of a claim. Pure and exact."""
