// bpf/filter.cpp: what is no request, as entries of the kernel's longest-prefix tables.
#include <algorithm>
#include <cstring>

#include "bpf/head.h"
#include "bpf/kernel.h"

namespace lull {
namespace {

void add_path(const Maps& maps, std::uint32_t service, const Filter::Path& path, std::string text) {
  lull_path_key key{};
  text.resize(std::min<std::size_t>(text.size(), LULL_PATH_BYTES));
  key.prefix = static_cast<__u32>((sizeof(key.service) + sizeof(key.method) + text.size()) * 8);
  key.service = service;
  key.method = path.method;
  std::memcpy(key.path, text.data(), text.size());
  const std::uint8_t verdict = path.ignored ? LULL_IS_IGNORED : LULL_COUNTS;
  (void)bpf_map_update_elem(maps.paths, &key, &verdict, BPF_ANY);  // full: counted as a request, the safe side
}

void add_source(const Maps& maps, std::uint32_t service, const Filter::Source& source) {
  lull_source_key key{};
  key.prefix = LULL_SERVICE_BITS + std::min(source.bits, 128u);
  key.service = service;
  std::copy(source.address.begin(), source.address.end(), key.address);
  const std::uint8_t one = 1;
  (void)bpf_map_update_elem(maps.sources, &key, &one, BPF_ANY);  // likewise
}

template <class Key>
void clear(int map, std::uint32_t service) {
  for_each_entry<Key, std::uint8_t>(map, [&](const Key& key, std::uint8_t) {
    if (key.service == service) (void)bpf_map_delete_elem(map, &key);
  });
}

}  // namespace

void clear_filter(Arrivals::Kernel& kernel, std::uint32_t service) {
  clear<lull_path_key>(kernel.maps.paths, service);
  clear<lull_source_key>(kernel.maps.sources, service);
}

void Arrivals::set_filter(std::uint32_t service, const Filter& filter) {
  if (service >= max_services || kernel_->epoch[service] == 0) return;
  const Maps& maps = kernel_->maps;
  lull_rule rule{kernel_->epoch[service], filter.least_bytes, 0, 0, {}};
  (void)bpf_map_update_elem(maps.rules, &service, &rule, BPF_ANY);  // an array within bounds cannot fail
  clear_filter(*kernel_, service);
  for (const auto& path : filter.paths) {
    if (!path.whole) add_path(maps, service, path, path.text);
    if (path.whole)
      for (const char* end : {" ", "?"}) add_path(maps, service, path, path.text + end);
  }
  for (const auto& source : filter.sources) add_source(maps, service, source);
  rule.by_path = !filter.paths.empty();
  rule.by_source = !filter.sources.empty();
  (void)bpf_map_update_elem(maps.rules, &service, &rule, BPF_ANY);
}

}  // namespace lull
