# SPDX-License-Identifier: Apache-2.0
"""The reference verdict: what the packet path must answer, said as plainly as possible. Shares nothing with the compiler."""
