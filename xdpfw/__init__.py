# SPDX-License-Identifier: Apache-2.0
"""xdpfw: an XDP firewall service."""

__version__ = "0.1.0"
