"""Play one seed and tell its story: ``python -m tests.simulation SEED``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.simulation.world import PromiseBroken, World


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        world = World(int(sys.argv[1]), Path(folder))
        try:
            world.play()
        except PromiseBroken as error:
            result = str(error)
        else:
            result = f"seed {world.seed}: all promises were kept"
    sys.stdout.write("\n".join([str(world.faults), *world.story, result, ""]))
    return int(bool(world.broken))


if __name__ == "__main__":
    sys.exit(main())
