"""The two keys of a node's outputs.

The *key* is made before anything runs, from the graph alone: for a link it takes the key of the
node above. A plan is made of keys only. The *input key* is made when a node is about to be called:
for a link it takes the digest of the value that came in. Where a node above ran again and gave the
same value, the input key is that of the last run, and the node is reused (early cut-off).

The caches hold entries by input key, and remember which keys led to each. Ids, titles and
positions are in neither key, so two nodes that ask for the same share one entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ..cache.fingerprint import Fingerprinter
from ..graph.prepared import Prepared


def make_key(
    node: Prepared,
    files: Mapping[str, str],
    upstream: Mapping[str, tuple[str, int]],
    fingerprinter: Fingerprinter,
    output_dir: str,
    switches: str = "",
) -> str:
    """Return the digest of all that decides a node's outputs.

    Args:
        files: content digests by input, and by name of other files that the node reads.
        upstream: for each linked input a digest that stands for the value, and the index of the
            output (-1 where the digest is that of the value itself).
        output_dir: where the node writes; counts for output nodes only.
        switches: the environment variables that results depend on, with their values.
    """
    sink = hashlib.sha256(node.spec.identity.encode())
    sink.update(switches.encode("utf-8", "surrogatepass"))
    if node.spec.output_node and node.spec.hidden:
        sink.update(output_dir.encode("utf-8", "surrogatepass"))
    for port in node.spec.inputs:
        name = port.name
        sink.update(name.encode())
        if name in upstream:
            digest, output = upstream[name]
            sink.update(f"<{digest}.{output}".encode())
        elif name in files:
            sink.update(f"@{files[name]}".encode())
        else:
            sink.update(b"=")
            fingerprinter.feed(node.literals.get(name), sink)
    for name in sorted(name for name in files if node.spec.port(name) is None):
        sink.update(f"+{len(name)}:{name}@{files[name]}".encode())
    return sink.hexdigest()
