# SPDX-License-Identifier: Apache-2.0
"""What pip-audit found, told so that nothing is overlooked: a package that could not be looked up is no sound one.

usage: python -m lab.advisories REPORT.json      ends with 1 if one is affected or could not be looked up
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def told(report: dict[str, Any]) -> tuple[list[str], bool]:
    """Lines for people, the sum last, and whether all is well."""
    packages = report["dependencies"]
    unknown = [each for each in packages if "skip_reason" in each]
    affected = [each for each in packages if each.get("vulns")]
    lines = [f"{each['name']}: {each['skip_reason']}" for each in unknown]
    lines += [
        f"{each['name']} {each['version']}: {vuln['id']}, mended in {', '.join(vuln['fix_versions']) or 'no version'}"
        for each in affected
        for vuln in each["vulns"]
    ]
    looked_up = len(packages) - len(unknown)
    lines.append(f"{looked_up} of {len(packages)} packages were looked up, {len(affected)} are affected")
    return lines, bool(packages) and not (unknown or affected)


def main() -> int:
    lines, well = told(json.loads(Path(sys.argv[1]).read_text()))
    print("\n".join(lines))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
