#!/usr/bin/env python3
"""Turn files into a C source, so that the program carries them.

  embed.py OUT.c NAME=FILE [NAME=FILE ...]

For each NAME: `const unsigned char fg_embedded_NAME[]` (with a NUL behind it) and
`const size_t fg_embedded_NAME_len` (without it).
"""
import sys


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    lines = ["#include <stddef.h>"]
    for pair in sys.argv[2:]:
        name, _, path = pair.partition("=")
        with open(path, "rb") as file:
            data = file.read()
        lines.append(f"extern const unsigned char fg_embedded_{name}[];")
        lines.append(f"extern const size_t fg_embedded_{name}_len;")
        lines.append(f"const unsigned char fg_embedded_{name}[] = {{")
        for at in range(0, len(data), 20):
            lines.append(",".join(str(byte) for byte in data[at:at + 20]) + ",")
        lines.append("0};")
        lines.append(f"const size_t fg_embedded_{name}_len = {len(data)};")
    with open(sys.argv[1], "w", encoding="ascii") as out:
        out.write("\n".join(lines) + "\n")
    return 0


sys.exit(main())
