// tests/gate_model/model.h: the entry protocol of shim/gate.h as a state machine, and every order its steps can take.
//
// Two application threads that launch again and again, the mover that drains and unmaps, the broker that closes and
// opens. Marking and unmarking an entry word goes through a store buffer, as on processors where a load may overtake an
// earlier store; the mover's membarrier empties the buffers one by one. Each load is a step of its own.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace lull::model {

// What the protocol is made of. The tests take single parts away.
struct Rules {
  bool membarrier = true;          // the mover lets every thread's stores become visible after the close
  bool entry_words = true;         // it waits until every thread has been seen outside
  bool gate_before_hold = true;    // a thread loads the gate first
  bool gate_checked_again = true;  // the mover looks at the gate once more when the hold is set
  bool hold_checked = true;        // a thread looks at the hold at all
};

struct Outcome {
  std::size_t states = 0;
  std::size_t launches_after_a_move = 0;  // states in which work runs that was submitted after an eviction
  std::size_t evictions = 0;              // states in which memory is gone
  std::string violation;                  // the steps that lead to work on memory that is gone; empty: there are none
};

Outcome explore(const Rules&);

// How the mover takes a thread's credit back while the thread counts it down, in a load and a store that are not one.
struct RecallRules {
  bool recall_checked = true;  // a thread looks at `recall` before it counts
  bool recall_first = true;    // the mover sets it before it looks for threads inside
  bool membarrier = true;      // and lets their stores become visible in between
  bool entry_words = true;     // it takes no credit from a thread that is inside
};

struct RecallOutcome {
  std::size_t states = 0;
  std::size_t taken = 0;    // states in which credit has been taken back
  std::size_t counted = 0;  // states in which a thread has counted on the fast path after that
  std::string violation;    // the steps after which credit and submissions do not agree; empty: there are none
};

RecallOutcome explore_recall(const RecallRules&);

}  // namespace lull::model
