# SPDX-License-Identifier: Apache-2.0
"""Frames that somebody asks about: built from a description, or read from a capture."""
