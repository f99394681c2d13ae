// Handles: an application's pointer is only ever compared, never followed, until it is found here.
#pragma once
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace lull::sim {

template <class T>
class Registry {
 public:
  T* add(std::shared_ptr<T> object) {
    T* const handle = object.get();
    const std::scoped_lock lock(mutex_);
    objects_[handle] = std::move(object);
    return handle;
  }
  std::shared_ptr<T> find(const void* handle) const {
    const std::scoped_lock lock(mutex_);
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second;
  }
  std::shared_ptr<T> remove(const void* handle) {
    const std::scoped_lock lock(mutex_);
    const auto found = objects_.find(handle);
    if (found == objects_.end()) return nullptr;
    auto object = std::move(found->second);
    objects_.erase(found);
    return object;
  }
  std::vector<std::shared_ptr<T>> all() const {
    const std::scoped_lock lock(mutex_);
    std::vector<std::shared_ptr<T>> list;
    for (const auto& [handle, object] : objects_) list.push_back(object);
    return list;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<const void*, std::shared_ptr<T>> objects_;
};

// One registry a type, never destroyed: threads of the program may outlive the destructors of its libraries.
template <class T>
Registry<T>& registry() {
  static auto& one = *new Registry<T>;
  return one;
}

}  // namespace lull::sim
