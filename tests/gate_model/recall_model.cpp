// One thread and the mover: gate::enter_quickly, the slow path of gate::Pass with a grant, gate::take_credit_back. More
// threads would show no more, since the mover takes from each alone.
#include <cstring>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/gate_model/model.h"

namespace lull::model {
namespace {

using Byte = std::uint8_t;
using Count = std::int8_t;
constexpr Count first_credit = 3, grant = 2, most_made = 6;
constexpr Byte most_takes = 2;

enum Step : Byte { enter, look_at_recall, load_credit, store_credit, leave, step_back, undo, count_slowly };
enum Mover : Byte { rest, set_recall, barrier, look_inside, set_recall_late, take, clear_recall };
enum Place : Byte { none, inside_word, credit_word };

// A store that is not visible yet.
struct Pending {
  Byte place;
  Count value;
};

// Bytes only, so that states are compared and hashed as such.
struct State {
  Byte step, mover, recall, inside;
  Count credit, granted, made, loaded;
  Byte takes;          // how often credit was taken back
  Byte fast_after;     // counted on the fast path since: for the account alone
  Byte pending_count;  // oldest first
  Pending pending[3];
};
static_assert(sizeof(State) == 11 + 3 * sizeof(Pending));

bool operator==(const State& a, const State& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

struct Hash {
  std::size_t operator()(const State& state) const {
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&state), sizeof state});
  }
};

void show_oldest(State& s) {
  const Pending shown = s.pending[0];
  s.pending[0] = s.pending[1], s.pending[1] = s.pending[2], s.pending[2] = {};
  --s.pending_count;
  if (shown.place == inside_word) s.inside = static_cast<Byte>(shown.value);
  if (shown.place == credit_word) s.credit = shown.value;
}

void show_all(State& s) {
  while (s.pending_count) show_oldest(s);
}

// The thread's own loads see its own stores.
Count own_credit(const State& s) {
  for (Byte i = s.pending_count; i-- > 0;)
    if (s.pending[i].place == credit_word) return s.pending[i].value;
  return s.credit;
}

class Steps {
 public:
  Steps(const RecallRules& rules, const State& from) : rules_(rules), from_(from) {
    thread();
    if (from.pending_count) show_oldest(next("a store of the thread is seen"));
    mover();
  }
  std::vector<std::pair<State, const char*>> all() && { return std::move(all_); }

 private:
  State& next(const char* what) { return all_.emplace_back(from_, what).first; }
  State& step_to(Step step, const char* what) {
    State& s = next(what);
    s.step = step;
    return s;
  }
  void store(Step then, Place place, Count value, const char* what) {
    if (from_.pending_count == 3) return;
    State& s = step_to(then, what);
    s.pending[s.pending_count++] = {place, value};
  }

  void thread() {
    switch (from_.step) {
      case enter:
        if (from_.made < most_made) store(look_at_recall, inside_word, 1, "the thread marks itself inside");
        break;
      case look_at_recall:
        if (rules_.recall_checked && from_.recall)
          step_to(step_back, "the thread sees the recall");
        else
          step_to(load_credit, "the thread sees no recall");
        break;
      case load_credit: step_to(store_credit, "the thread loads its credit").loaded = own_credit(from_); break;
      case store_credit: return count_down();
      case undo: {  // a locked addition
        State& s = step_to(step_back, "the thread has none left, and undoes that");
        show_all(s);
        ++s.credit;
        break;
      }
      case step_back: return store(count_slowly, inside_word, 0, "the thread steps back out");
      case count_slowly: {  // locked, the grant and the count
        State& s = step_to(enter, "the thread is given credit, and counts on the slow path");
        show_all(s);
        s.granted = static_cast<Count>(s.granted + grant - s.credit);
        s.credit = grant - 1;
        ++s.made;
        break;
      }
      default: store(enter, inside_word, 0, "the thread marks itself outside");
    }
  }

  void count_down() {
    const Count left = static_cast<Count>(from_.loaded - 1);
    if (from_.pending_count == 3) return;
    store(left < 0 ? undo : leave, credit_word, left, "the thread stores one less");
    State& s = all_.back().first;
    s.loaded = 0;
    if (left >= 0) ++s.made, s.fast_after = s.takes > 0;
  }

  State& move_to(Mover place, const char* what) {
    State& s = next(what);
    s.mover = place;
    return s;
  }

  void mover() {
    switch (from_.mover) {
      case rest:
        if (from_.takes < most_takes) move_to(rules_.recall_first ? set_recall : barrier, "a limit comes up");
        break;
      case set_recall: move_to(barrier, "the mover sets the recall").recall = 1; break;
      case barrier: {
        State& s = move_to(look_inside, "the membarrier reaches the thread");
        if (rules_.membarrier) show_all(s);
        break;
      }
      case look_inside:
        if (from_.inside && rules_.entry_words)
          move_to(barrier, "the mover sees the thread inside");
        else
          move_to(rules_.recall_first ? take : set_recall_late, "the mover sees the thread outside");
        break;
      case set_recall_late: move_to(take, "the mover sets the recall").recall = 1; break;
      case take: {
        State& s = move_to(clear_recall, "the mover takes the credit back");
        if (s.credit > 0) s.granted = static_cast<Count>(s.granted - s.credit), s.credit = 0;
        ++s.takes;
        break;
      }
      default: move_to(rest, "the mover clears the recall").recall = 0;
    }
  }

  const RecallRules& rules_;
  const State& from_;
  std::vector<std::pair<State, const char*>> all_;
};

// Between two submissions, when all stores have been seen.
bool agrees(const State& s) { return s.step != enter || s.pending_count || s.granted - s.credit == s.made; }

struct Origin {
  const State* before;
  const char* what;
};
using Known = std::unordered_map<State, Origin, Hash>;

std::string way_to(const Known& known, const State* state) {
  std::string way;
  for (auto at = known.find(*state); at->second.before; at = known.find(*at->second.before))
    way = std::string(at->second.what) + "\n" + way;
  return way;
}

}  // namespace

RecallOutcome explore_recall(const RecallRules& rules) {
  State first{};
  first.credit = first.granted = first_credit;
  Known known;
  std::vector<const State*> queue{&known.emplace(first, Origin{nullptr, ""}).first->first};
  RecallOutcome outcome;
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const State& state = *queue[i];
    outcome.taken += state.takes > 0;
    outcome.counted += state.fast_after;
    if (!agrees(state)) {
      outcome.violation = way_to(known, &state);
      break;
    }
    for (const auto& [next, what] : Steps(rules, state).all())
      if (const auto [place, is_new] = known.try_emplace(next, Origin{&state, what}); is_new)
        queue.push_back(&place->first);
  }
  outcome.states = known.size();
  return outcome;
}

}  // namespace lull::model
