# SPDX-License-Identifier: Apache-2.0
"""The kernel adapter: the only owner of bcc, libbpf, netlink and of every wire layout."""
