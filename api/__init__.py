# SPDX-License-Identifier: Apache-2.0
"""The REST API: a thin layer of HTTP over `xdpfw.service.Firewall`."""
