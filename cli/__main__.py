# SPDX-License-Identifier: Apache-2.0
"""`python -m cli`: the same as `xdpfw`."""

import sys

from cli.main import main

sys.exit(main())
