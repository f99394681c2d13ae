// shim/protection.h: what stands between a program and the hazards of docs/hazards.md, by name.
//
// The library that is installed has all of it and cannot be told otherwise: on() is the constant true. The tests build
// a second library, where LULL_TEST_OFF=name[,name] takes single ones away, to prove that they would be missed
// (tests/hazards).
#pragma once
namespace lull {

#define LULL_PROTECTIONS(X)                                                                          \
  X(entry_words)         /* a drain waits for threads that are inside the driver */                  \
  X(drain_deadline)      /* a drain gives up after a time, and says why */                           \
  X(bounded_flight)      /* no more work is queued than a drain may take */                          \
  X(gil_release)         /* a thread that waits at the gate gives Python's lock up */                \
  X(capture_count)       /* nothing is drained while a capture is open */                            \
  X(relaxed_mover)       /* the mover's own calls break no capture */                                \
  X(driver_first)        /* cuGetProcAddress: the driver chooses the revision */                     \
  X(dlsym_route)         /* what dlsym finds in the driver is answered by ours */                    \
  X(shallow_bind)        /* RTLD_DEEPBIND is taken out */                                            \
  X(namespace_watch)     /* a driver in a namespace of its own makes the process unmanaged */        \
  X(tail_jump)           /* RTLD_NEXT is answered as seen by the caller */                           \
  X(promised_sizes)      /* total and free memory do not depend on neighbours */                     \
  X(ungated_allocation)  /* cuMemAlloc and cuMemFree never wait at the gate */                       \
  X(slabs)               /* small allocations share chunks */                                        \
  X(virtual_handles)     /* the program's own handles are names for memory that can move */          \
  X(retained_identity)   /* cuMemRetainAllocationHandle answers the handle the program knows */      \
  X(export_pins)         /* exported memory stays where it is */                                     \
  X(ipc_refusal)         /* cuIpcGetMemHandle says NOT_SUPPORTED of memory that moves */             \
  X(fork_wipe)           /* a forked child finds a word that lets everything pass */                 \
  X(dormancy)            /* no thread and no socket before CUDA is used */                           \
  X(hold)                /* submissions wait for memory that is missing */                           \
  X(context_frees)       /* what cuMemAlloc gave goes with its context */                            \
  X(timed_pairs)         /* a gate closes after the second of two timed events */                    \
  X(bounded_rest)        /* whoever destroys a context waits a second for the mover, not for ever */ \
  X(pool_count)          /* what pools hold counts as used */                                        \
  X(pool_trim)           /* what pools keep and nobody uses leaves the card at an eviction */        \
  X(split_copies)        /* a drain waits for a piece of a long copy, not for all of it */           \
  X(managed_prefetch)    /* managed memory leaves the card by prefetches */                          \
  X(quiet_locks)         /* no handler of the program's runs where the shim holds a lock */          \
  X(brief_end)           /* who leaves the program waits a second for a closed gate, not longer */   \
  X(deinitialized_frees) /* a free after the driver has ended is a success */

#define LULL_NAMED(name) name,
enum class Protection { LULL_PROTECTIONS(LULL_NAMED) };
#undef LULL_NAMED

#ifdef LULL_TEST_UNPROTECTED
bool on(Protection);
#else
constexpr bool on(Protection) { return true; }
#endif

}  // namespace lull
