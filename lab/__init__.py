# SPDX-License-Identifier: Apache-2.0
"""Network namespaces with hosts and traffic, for `script/server`, the tests and the benchmarks."""
