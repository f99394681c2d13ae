#!/usr/bin/env python3
"""embed.py OUTPUT PROFILE...: the built-in card profiles as initialisers of {name, text}."""
import os
import sys

with open(sys.argv[1], "w", encoding="utf-8") as out:
    for path in sys.argv[2:]:
        name = os.path.basename(path).removesuffix(".card")
        with open(path, encoding="utf-8") as profile:
            out.write(f'{{"{name}", R"card({profile.read()})card"}},\n')
