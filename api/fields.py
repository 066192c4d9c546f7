# SPDX-License-Identifier: Apache-2.0
"""What the fields of answers mean, with units and examples: for the OpenAPI document, by the field's name."""

from __future__ import annotations

from typing import Any

FIELDS: dict[str, tuple[str, Any]] = {
    "added": ("Distinct prefixes that were not in the set", 1),
    "added_at": ("When its origin claimed it, or changed the claim", "2026-01-02T03:04:05Z"),
    "address": ("IPv4 or IPv6 address; an IPv4-mapped one is its IPv4 address", "203.0.113.7"),
    "at": ("When it was read", "2026-01-02T03:04:05Z"),
    "because": ("Why, for people", "rule block matches: 203.0.113.0/24 is in set block"),
    "bps": ("Bits per second over the last two seconds", 1_000_000.0),
    "bytes": ("Bytes of whole frames, Ethernet header included", 64_000),
    "changed": ("Whether the write had an effect", True),
    "claims": ("All claims when there are several, the longest-lived first", None),
    "comment": ("One line for people", "scanner"),
    "created": ("Whether something new came to be", False),
    "created_at": ("When it was made", "2026-01-02T03:04:05Z"),
    "default": ("Verdict on what no row decides: pass or drop", "pass"),
    "desired": ("Mode that is wanted (auto, native, generic); null: not to be attached", "auto"),
    "done": ("Prefixes that are done", 40_000),
    "driver": ("Driver of the interface", "virtio_net"),
    "dry_run": ("Whether this only tells what would happen", False),
    "effective": ("What becomes of packets from there: drop, pass, conditional or mixed", "drop"),
    "entries": ("Distinct prefixes of both families", 3),
    "entries4": ("IPv4 prefixes", 2),
    "entries6": ("IPv6 prefixes", 1),
    "ethertypes": ("EtherTypes that pass under default drop beside IP and ARP", ["0x88cc"]),
    "expires_at": ("When it ends; null is never", "2030-01-02T03:04:05Z"),
    "action": ("What the rule does: pass, drop or limit", "drop"),
    "enabled": ("Whether it is looked at", True),
    "id": ("Name of the token or rule in requests and logs", "5f0c9a1e"),
    "limit": ("Its token bucket; of action limit alone", None),
    "log": ("Events that it may log each second; null for none", None),
    "match": ("What it asks; a field that is missing asks nothing", {"source": ["block"]}),
    "position": ("Place in the list, from 1 on", 1),
    "index": ("Interface index; null while it is absent", 2),
    "instance": ("Name of this firewall on its host", "default"),
    "kept": ("Distinct prefixes that were in the set and still are", 2),
    "kind": ("What is under way", "import"),
    "last_seen": ("When its last packet came", "2026-01-02T03:04:05Z"),
    "mac": ("Hardware address", "02:00:00:00:00:02"),
    "mode": ("Interface: native or generic, null when detached; policy: enforce or monitor", "native"),
    "mtu": ("Bytes", 1500),
    "name": ("Its name", "block"),
    "next": ("Cursor of the next page; null at the end", None),
    "origin": ("Who claims it", "fail2ban:sshd"),
    "packets": ("Packets", 1000),
    "pps": ("Packets per second over the last two seconds", 1250.5),
    "prefix": ("In canonical form", "203.0.113.0/24"),
    "problems": ("Why it does not do all that it was asked to", []),
    "program_id": ("The kernel's id of our XDP program there; null when detached", 42),
    "ready": ("Whether all that is wanted is enforced", True),
    "reasons": ("Counts by reason; rules as rule:ID, and rule for those that are gone. They sum up to the totals", {}),
    "refreshed": ("Distinct prefixes that were in the set, and of which a claim changed", 0),
    "removed": ("Distinct prefixes that are in the set no more", 0),
    "revision": ("Number of the last accepted change", 7),
    "role": ("read, write or admin", "read"),
    "rows": ("Rules of the policy in order; the first match wins", ["allow", "block"]),
    "rule": ("Rule of the policy that decides; null: the default does", "block"),
    "secret": ("The token, shown this once; null in a dry run", "xdpfw_5f0c9a1e_…"),
    "set": ("Name of the set", "block"),
    "since": ("From when it is counted", "2026-01-02T03:04:05Z"),
    "size": ("Elements that fit", 2_097_152),
    "step": ("Seconds that each value spans", 1),
    "skipped": ("What was left out, the first 100: pointer and detail", []),
    "started_at": ("When it began", "2026-01-02T03:04:05Z"),
    "sources": ("The only prefixes it may be used from; none: from everywhere", ["192.0.2.0/24"]),
    "state": ("attached, detached, absent or error", "attached"),
    "times": ("Ends of the steps, oldest first", ["2026-01-02T03:04:05Z"]),
    "total": ("How many there are in all", 3),
    "ttl": ("Seconds that are left; null is for ever", 3600),
    "uptime": ("Seconds since the daemon started", 86_400.0),
    "used": ("Elements that are in; null where it cannot be told cheaply", 1000),
    "verdict": ("pass, drop, or conditional: it depends on more than the source", "drop"),
    "window": ("Seconds back from the latest reading", 900),
    "RateSeries.bps": ("Bits per second within each step; null where nothing is known", [1_000_000.0, None]),
    "RateSeries.pps": ("Packets per second within each step; null where nothing is known", [1250.5, None]),
    "version": ("Version of the daemon", "0.1.0"),
    "warning": ("What is not as it should be, and what to do; null when all is well", None),
    "warnings": ("What is not as it should be", []),
}


def describe(model: str, name: str, schema: dict[str, Any]) -> None:
    """Give a property its description and example unless it has its own."""
    key = f"{model}.{name}" if f"{model}.{name}" in FIELDS else name
    if "$ref" in schema or key not in FIELDS:
        return
    description, example = FIELDS[key]
    schema.setdefault("description", description)
    if not {"examples", "default"} & schema.keys():
        schema["examples"] = [example]
