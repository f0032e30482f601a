"""Cuts GitHub's own API description to what keyferry calls, for Prism: openapi.py IN OUT

Prism takes ten seconds and 300 MB for the whole of it. The example of a public key is replaced by a real
one (the published one has 33 bytes, which is no X25519 key), whose private half is thirty-two times 0x07.
"""

import json
import sys

# The public half of X25519 for the private key 07 07 … 07.
PUBLIC_KEY = "E75P6uryBMf9M1j8nAByGIHRdCeBKCJ+xnTzf3/pe20="

PATHS = (
    "/app/installations/{installation_id}/access_tokens",
    "/orgs/{org}/actions/secrets",
    "/repos/{owner}/{repo}/actions/secrets",
    "/repos/{owner}/{repo}/environments/{environment_name}/secrets",
)


def wanted(path):
    return path == "/repos/{owner}/{repo}" or any(path == p or path.startswith(p + "/") for p in PATHS)


def references(node):
    """Every local reference below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def main(source, target):
    with open(source, encoding="utf-8") as file:
        whole = json.load(file)
    paths = {path: item for path, item in whole["paths"].items() if wanted(path)}
    assert len(paths) >= 10, f"only {sorted(paths)}"
    components = {}
    pending = list(references(paths))
    while pending:
        reference = pending.pop()
        _, _, section, name = reference.split("/", 3)
        if name in components.setdefault(section, {}):
            continue
        components[section][name] = whole["components"][section][name]
        pending.extend(references(components[section][name]))
    replaced = 0
    for name, example in components.get("examples", {}).items():
        if isinstance(example.get("value"), dict) and {"key_id", "key"} <= example["value"].keys():
            example["value"]["key"] = PUBLIC_KEY
            replaced += 1
    assert replaced >= 1, "no example of a public key"
    cut = {"openapi": whole["openapi"], "info": whole["info"], "paths": paths, "components": components}
    with open(target, "w", encoding="utf-8") as file:
        json.dump(cut, file)


main(*sys.argv[1:])
