"""The sample traces in the tree are what generate.py writes."""
import filecmp
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

with tempfile.TemporaryDirectory() as made:
    subprocess.run([sys.executable, os.path.join(HERE, "generate.py"), made], check=True)
    kept = os.path.join(HERE, "traces")
    names = sorted(os.listdir(made))
    if names != sorted(os.listdir(kept)):
        sys.exit(f"generated: {names}; kept: {sorted(os.listdir(kept))}")
    _, different, missing = filecmp.cmpfiles(made, kept, names, shallow=False)
    if different or missing:
        sys.exit(f"not as generated: {different + missing}; run tests/replay/generate.py")
