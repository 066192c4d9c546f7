# SPDX-License-Identifier: Apache-2.0
"""Frozen values that every layer shares. No I/O, no dependencies outside the standard library."""
