"""Tells Lull that this service will be asked soon, so that its GPU memory is there when the request comes.

    lull_soon.soon()                  from the service itself
    lull_soon.soon("faces", "30s")    for the tenant of that name; who reaches its class may say so

True when it was said; else there is no broker, or it is not permitted, and nothing else happens. Never blocks.
"""
import os
import socket


def soon(tenant="", lasts="30s"):
    said = False
    base = os.environ.get("LULL_RUNTIME_DIR") or "/run/lull"
    for place in ("", "inference/socket", "interactive/socket"):  # a container has one of them mounted
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.setblocking(False)
            try:
                s.sendto(f"{tenant} {lasts}".strip().encode(), os.path.join(base, place, "soon"))
                said = True
            except OSError:
                pass
    return said
