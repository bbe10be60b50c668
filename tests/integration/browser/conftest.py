"""The tests of this folder need a browser driver: they run where FG_NODE_MODULES says it is."""
import os

collect_ignore_glob = [] if "FG_NODE_MODULES" in os.environ else ["*"]
