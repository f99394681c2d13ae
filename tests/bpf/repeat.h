// tests/bpf/repeat.h: a TCP segment that comes twice, as after a lost acknowledgement.
#pragma once
#include "bpf/handle.h"

namespace lull::test {

// Sends the last byte that an IPv4 connection has sent once more, by a raw socket. Needs CAP_NET_ADMIN, CAP_NET_RAW.
void send_last_byte_again(const Handle& connection);

}  // namespace lull::test
