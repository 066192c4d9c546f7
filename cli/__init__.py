# SPDX-License-Identifier: Apache-2.0
"""The command line: verbs, rendering; speaks HTTP to the daemon."""
