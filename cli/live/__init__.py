# SPDX-License-Identifier: Apache-2.0
"""The live view of `xdpfw top`: values and text without I/O, threads that ask the daemon, a thin Textual app."""
