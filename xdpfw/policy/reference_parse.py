# SPDX-License-Identifier: Apache-2.0
"""The frame parser of the reference verdict: scalar, slow, close to the RFCs' words."""
