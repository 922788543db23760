"""What a process has in its environment before it imports Flower; this module does not.

Flower reports its use, looks for updates and installs what an app asks for, unless it is told not
to. Each of its processes has a folder of its own to write to.
"""

import os

LOOPBACK = "127.0.0.1"

# Each part of a message is several times in the memory of whoever serves it, for each that fetches.
_SMALL_PARTS = {
    "FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE": str(2 << 20),
    "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PULLS": "1",
    "FLWR_PRIVATE_MAX_CONCURRENT_OBJ_PUSHES": "1",
}
_OTHER_SERVERS = ("FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API")


def flower_environment(home: str) -> dict[str, str]:
    """Give the variables.

    Args:
        home: Folder for whatever Flower writes.
    """
    spared = [name for name in os.environ.get("NO_PROXY", "").split(",") if name]
    return {
        **dict.fromkeys(_OTHER_SERVERS, "0"),
        **_SMALL_PARTS,
        "FLWR_HOME": home,
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        # A hospital's proxy is for what lies outside of this machine.
        "NO_PROXY": ",".join(dict.fromkeys([*spared, LOOPBACK])),
    }
