"""``python tests/bench/gateway``: the agent against other gateways, end to end. ``--help`` says how."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.gateway.command import main

if __name__ == "__main__":
    sys.exit(main())
