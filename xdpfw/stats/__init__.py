# SPDX-License-Identifier: Apache-2.0
"""From counter readings to deltas, rates and rankings."""
