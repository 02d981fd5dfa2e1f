"""The gRPC face."""

import os

# Before gRPC's core is loaded: what it writes to standard error may name who asks. GRPC_VERBOSITY=info shows it.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
