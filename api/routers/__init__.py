# SPDX-License-Identifier: Apache-2.0
"""One module per resource; endpoints only translate between HTTP and the service."""
