"""``python tests/bench/gateway``: the agent against other gateways, end to end. ``--help`` says how."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.gateway.command import main  # noqa: E402 - tests/ is on the path only now

if __name__ == "__main__":
    sys.exit(main())
