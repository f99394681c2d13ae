// broker/request_kinds.h: which requests have been seen to lead to work on the GPU: by service, port, method and the
// beginning of the path; where those cannot be read, by size and by the clock. What is unknown is no more than a hint;
// one that has led to work moves memory the next time.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bpf/loader.h"
#include "broker/identity.h"
#include "broker/rhythm.h"

namespace lull {

struct RequestKind {
  std::uint16_t port = 0;
  std::uint8_t stream = 0, method = 0;  // enum lull_stream, lull_method
  std::uint8_t size = 0;                // of the first segment, where nothing else is known: see size_of
  std::string path;                     // two segments at most, numbers and ids left out
  auto operator<=>(const RequestKind&) const = default;
};

// The look is a stranger's: any bytes give a kind, of which there are few enough to count.
RequestKind kind_of(std::uint16_t port, const RequestLook&);
std::string show(const RequestKind&);  // "POST /v1/chat on port 8000"

using KindId = std::uint32_t;  // 0: not known

class KindBook {
 public:
  KindId id_of(const TenantKey&, const RequestKind&);  // 0: no room for another
  // Whether an arrival at that time is worth moving memory for. The time is that of `outcome`, later.
  bool arrived(KindId, policy::Time at);
  bool any_proven(const TenantKey&) const;
  void outcome(KindId, policy::Time arrived, bool led_to_work);

  struct Row {
    std::string tenant, kind;
    bool proven;
    std::uint64_t worked, idle;
  };
  std::vector<Row> rows() const;  // for people

 private:
  struct Entry {
    bool proven = false;
    unsigned misses = 0;  // in a row
    std::uint64_t worked = 0, idle = 0;
    Rhythm rhythm;
  };
  using Key = std::pair<TenantKey, RequestKind>;
  std::map<Key, KindId> ids_;
  std::map<TenantKey, unsigned> kinds_of_;  // how many
  std::vector<Entry> entries_;
};

}  // namespace lull
