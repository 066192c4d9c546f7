# SPDX-License-Identifier: Apache-2.0
"""The policy compiler: sets and rules in, map operations out. Pure: no I/O, no clock of its own."""
