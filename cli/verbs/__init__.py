# SPDX-License-Identifier: Apache-2.0
"""One module per family of verbs; each has `configure(verb, parser)` and is imported only when its verb is called."""
