#!/usr/bin/env python3
"""Writes dashboards/*.json: make_dashboards.py, or make_dashboards.py --check to see whether they are up to date.

A dashboard in JSON is a thousand lines of which thirty matter. Those are in generator/, a module for each dashboard: one call for
each panel, with its queries, its unit, and how to read it. A row on a subject of its own may be a module, too, which a dashboard
calls. A new dashboard is a module, its name below, and a line in kustomization.yaml.
"""

import pathlib
import sys

# Nothing but the dashboards is written here.
sys.dont_write_bytecode = True

from generator import cache, lock, service, stores  # noqa: E402

HERE = pathlib.Path(__file__).parent
DASHBOARDS = {"cache": cache, "lock": lock, "service": service, "stores": stores}


def main():
    """Writes the files, or compares them."""
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    wrong = []
    listed = (HERE / "kustomization.yaml").read_text()
    for name, module in DASHBOARDS.items():
        path, text = HERE / "dashboards" / f"{name}.json", module.build().text()
        if f"dashboards/{name}.json]" not in listed:
            wrong.append(f"dashboards/{name}.json is not in kustomization.yaml")
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            wrong.append(f"dashboards/{name}.json is not up to date: run {pathlib.Path(__file__).name}")
    for path in (HERE / "dashboards").iterdir():
        if path.suffix != ".json" or path.stem not in DASHBOARDS:
            wrong.append(f"dashboards/{path.name} comes from no module")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
