// shim/process.h: what this process is to Lull: dormant, active, managed; its pages; the GPUs and contexts it uses.
//
// A process is dormant until it makes a context or allocates. activate() then maps the pages (zeroes at first, which
// read "unmanaged"), and starts the link; the mover starts with the first context. When a broker is met, its page is
// mapped over the zeroes at the same address; when it is lost for longer than the grace time, zeroes again.
#pragma once
#include <atomic>
#include <cstdint>
#include <optional>

#include "protocol/page.h"
#include "shim/lock.h"
#include "shim/real.h"
#include "shim/vector.h"

namespace lull::process {

// True when the process is active afterwards. Any thread; cheap once done. False: inert, pass everything through.
bool activate();

const DownPage& down();
std::uint32_t session();  // raised with every broker's pages: what was told to an earlier one is not known to this
UpPage& up();

// GPUs. A slot is the device's ordinal in this process.
bool attached(unsigned slot);
void for_each_slot(void (*visit)(unsigned slot));
std::optional<std::uint64_t> quota(unsigned slot);
std::optional<std::uint64_t> admitted(unsigned slot);

// Contexts, as they become known. note_context waits (at most 2 s, once a GPU) for the broker's first word about it.
void note_current_context();
void note_context(CUcontext);
void note_device(CUdevice);  // that the first context is to be on
void forget_context(CUcontext);
bool gone(CUcontext);                      // destroyed
CUcontext working_context(unsigned slot);  // any live one on that GPU; null: none
std::optional<unsigned> slot_of(CUcontext);
std::optional<unsigned> slot_of_current();  // GPU of the calling thread's context

// Streams and captures the drain must know.
void note_stream(CUstream);  // non-blocking ones; the legacy stream's event covers the rest
void forget_stream(CUstream);
int captures_open();
void capture_began();
void capture_ended();

struct Lane {
  CUcontext context;
  CUstream stream;
  unsigned slot;
};  // stream null: the context's legacy stream
// Every lane work may still run in. Held under lanes_mutex(), which keeps streams from being destroyed meanwhile.
Mutex& lanes_mutex();
const Vector<Lane>& lanes(const class Locked&);

// Telling the broker (futexes and one thread-directed signal to the link; no descriptor of the host is touched).
void kick_link();
void nudge_mover();
void tell_wants(std::optional<unsigned> slot);
void tell_interrupted(unsigned slot);  // a signal's handler has run at the closed gate
void tell_leaving(unsigned slot);      // a thread at its end waits there
void tell_passed(bool met_closed_gate);
void publish(Word& word, std::uint64_t value);

// For the link alone.
struct Management {
  bool connected;
  bool restarting;
};
void map_pages(int down_fd, int up_fd);  // over what is there
void release_gates();                    // zeroes over the down page: unmanaged
void handshake_over();                   // whoever waits in activation goes on

}  // namespace lull::process
