"""Learning a baseline from a history. Not for the running agent: it reads baselines, it does not make them."""
