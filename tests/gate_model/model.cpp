#include "tests/gate_model/model.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lull::model {
namespace {

using Byte = std::uint8_t;
constexpr Byte thread_count = 2, buffer_size = 2, last_generation = 4;

enum Step : Byte { mark, load_first, load_second, launch, leave };
enum Mover : Byte { look, barrier, await_outside, await_work, raise_hold, check_gate, unmap, map, drop_hold };

struct Thread {
  Byte step, closed, held;  // where it is, what it has loaded
  Byte inside;              // its entry word, as others see it
  Byte buffered, buffer;    // stores to it that are not visible yet: how many, and their values, oldest lowest
  Byte running;             // work of its on the GPU
};

// Bytes only, so that states are compared and hashed as such.
struct State {
  Thread threads[thread_count];
  Byte generation;                  // of the gate word; open if even, closed if odd
  Byte hold, gone;                  // gone: the memory is unmapped
  Byte mover, word, drained, done;  // the mover's place, the gate word it acts on, the one drained; threads done with
  Byte moved;                       // memory has moved before: for the account alone
};
static_assert(sizeof(State) == thread_count * 7 + 8);

bool operator==(const State& a, const State& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

struct Hash {
  std::size_t operator()(const State& state) const {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&state), sizeof state});
  }
};

bool closed(const State& s) { return s.generation % 2 != 0; }
bool any_running(const State& s) {
  return std::any_of(s.threads, s.threads + thread_count, [](const Thread& t) { return t.running != 0; });
}

void show_oldest(Thread& t) {
  t.inside = t.buffer & 1;
  t.buffer = static_cast<Byte>(t.buffer >> 1);
  --t.buffered;
}

void store(Thread& t, Byte value) {
  t.buffer = static_cast<Byte>(t.buffer | value << t.buffered);
  ++t.buffered;
}

// Every state that follows from one, by one step of one party.
class Steps {
 public:
  Steps(const Rules& rules, const State& from) : rules_(rules), from_(from) {
    for (Byte i = 0; i < thread_count; ++i) application(i), processor(i), gpu(i);
    mover();
    if (from.generation < last_generation) next(closed(from) ? "the broker opens" : "the broker closes").generation++;
  }
  struct Next {
    State state;
    std::string what;
  };
  std::vector<Next> all() && { return std::move(all_); }

 private:
  State& next(std::string what) { return all_.emplace_back(Next{from_, std::move(what)}).state; }
  static std::string named(Byte i, const char* what) { return std::string(i ? "B " : "A ") + what; }

  void load(Byte i, bool gate) {
    Thread& t = next(named(i, gate ? "loads the gate" : "loads the hold")).threads[i];
    if (gate)
      t.closed = closed(from_);
    else
      t.held = rules_.hold_checked && from_.hold;
    t.step = t.step == load_first ? load_second : t.closed || t.held ? leave : launch;
  }

  void application(Byte i) {
    const Thread& now = from_.threads[i];
    if (now.step == load_first) return load(i, rules_.gate_before_hold);
    if (now.step == load_second) return load(i, !rules_.gate_before_hold);
    if (now.step == launch) {
      Thread& t = next(named(i, "launches")).threads[i];
      t.running = 1, t.step = leave;
    } else if (now.buffered < buffer_size) {
      Thread& t = next(named(i, now.step == mark ? "marks itself inside" : "marks itself outside")).threads[i];
      store(t, now.step == mark);
      t.step = now.step == mark ? load_first : mark;
      t.closed = t.held = 0;
    }
  }

  void processor(Byte i) {
    if (from_.threads[i].buffered) show_oldest(next(named(i, "has a store seen")).threads[i]);
  }

  void gpu(Byte i) {
    if (from_.threads[i].running) next(named(i, "has its work finished")).threads[i].running = 0;
  }

  State& move_to(Mover place, const char* what) {
    State& state = next(std::string("the mover ") + what);
    state.mover = place, state.done = 0;
    return state;
  }

  void mover() {
    const bool stands = from_.generation == from_.word;
    switch (from_.mover) {
      case look:
        if (closed(from_) && from_.generation == from_.drained)
          move_to(raise_hold, "has drained this closing before");
        else if (closed(from_))
          move_to(barrier, "sees the gate closed").word = from_.generation;
        break;
      case barrier: return issue_barrier();
      case await_outside:
        return await(!stands, await_work, [this](const Thread& t) { return !rules_.entry_words || !t.inside; });
      case await_work: return await(!stands, raise_hold, [](const Thread& t) { return !t.running; });
      case raise_hold: move_to(check_gate, "sets the hold").hold = 1; break;
      case check_gate:
        if (stands || !rules_.gate_checked_again)
          move_to(unmap, stands ? "finds the gate still closed" : "does not look at the gate");
        else
          move_to(drop_hold, "finds the gate changed");
        break;
      case unmap: move_to(map, "unmaps").gone = 1; break;
      case map: {
        State& state = move_to(drop_hold, "maps again");
        state.gone = 0, state.moved = 1;
        break;
      }
      default: move_to(look, "clears the hold").hold = 0;
    }
  }

  // Of all threads, in any order.
  void issue_barrier() {
    if (!rules_.membarrier) return void(move_to(await_outside, "goes on"));
    for (Byte i = 0; i < thread_count; ++i) {
      if (from_.done >> i & 1) continue;
      State& state = next(named(i, "is reached by the membarrier"));
      while (state.threads[i].buffered) show_oldest(state.threads[i]);
      state.done = static_cast<Byte>(state.done | 1 << i);
      if (state.done == (1 << thread_count) - 1) state.mover = await_outside, state.done = 0;
    }
  }

  // Threads one after the other; gives up when the gate has changed.
  template <class Ready>
  void await(bool changed, Mover then, Ready ready) {
    if (changed) return void(move_to(look, "gives up, since the gate has changed"));
    if (!ready(from_.threads[from_.done])) return;
    State& state = next(named(from_.done, then == await_work ? "is seen outside" : "is seen idle"));
    if (++state.done < thread_count) return;
    state.mover = then, state.done = 0;
    if (then == raise_hold) state.drained = state.word;
  }

  const Rules& rules_;
  const State& from_;
  std::vector<Next> all_;
};

struct Origin {
  const State* before;
  std::string what;
};
using Known = std::unordered_map<State, Origin, Hash>;

std::string way_to(const Known& known, const State* state) {
  std::string way;
  for (auto at = known.find(*state); at->second.before; at = known.find(*at->second.before))
    way = at->second.what + "\n" + way;
  return way;
}

}  // namespace

Outcome explore(const Rules& rules) {
  Known known;
  std::vector<const State*> queue{&known.emplace(State{}, Origin{nullptr, ""}).first->first};
  Outcome outcome;
  for (std::size_t i = 0; i < queue.size(); ++i) {  // breadth first: the shortest way to a violation
    const State& state = *queue[i];
    if (state.gone) ++outcome.evictions;
    if (state.moved && any_running(state)) ++outcome.launches_after_a_move;
    if (state.gone && any_running(state)) {
      outcome.violation = way_to(known, &state);
      break;
    }
    for (auto& [next, what] : Steps(rules, state).all())
      if (const auto [place, is_new] = known.try_emplace(next, Origin{&state, std::move(what)}); is_new)
        queue.push_back(&place->first);
  }
  outcome.states = known.size();
  return outcome;
}

}  // namespace lull::model
