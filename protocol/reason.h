// protocol/reason.h: why a gate or a quota is as it is. One table; enum, names and documentation come from it.
#pragma once
#include <cstdint>

namespace lull {

#define LULL_REASONS(X)                                                               \
  X(none, "nothing decided yet")                                                      \
  X(only_tenant, "nobody else wants the card")                                        \
  X(fits_beside, "everything fits together")                                          \
  X(request, "a request waits for a service")                                         \
  X(maybe_request, "a packet arrived; not known yet whether it leads to GPU work")    \
  X(loading, "a service is starting")                                                 \
  X(lingering, "a request has just ended; another may follow")                        \
  X(lull, "no request wants the card")                                                \
  X(higher_class, "a tenant of a higher class has the card")                          \
  X(peer_turn, "another tenant of the same class has its turn")                       \
  X(exit_grace, "a signal waits behind the gate; the program may finish")             \
  X(draining, "work on the card has to finish first")                                 \
  X(evicting, "memory is on its way out")                                             \
  X(restoring, "memory is on its way back")                                           \
  X(overdue, "work on the card did not finish in time; let go and tried again later") \
  X(does_not_fit, "needs more than the card can give")                                \
  X(blocked_by_foreign, "memory of programs without Lull is in the way")              \
  X(kept_free, "room is kept for programs without Lull (lull free)")                  \
  X(over_reserve, "contexts and modules take more of the card than was set aside")    \
  X(training_starved, "others have kept it off the card for long")                    \
  X(thrashing, "more than half of the time goes into switches")                       \
  X(gang_waits, "another process of its gang cannot run now")                         \
  X(gang_slice, "a gang that was paused for long gets a moment")                      \
  X(owner_pause, "its owner has paused it (lull pause)")                              \
  X(owner_release, "its owner has released its memory (lull release)")                \
  X(owner_hold, "the card is kept for a tenant (lull hold)")

enum class Reason : std::uint32_t {
#define X(name, text) name,
  LULL_REASONS(X)
#undef X
};
const char* name_of(Reason);      // "higher_class"
const char* sentence_of(Reason);  // "a tenant of a higher class has the card"

}  // namespace lull
