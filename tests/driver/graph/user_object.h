// User objects: what a program wants to know the end of. Its destructor is called, on a thread of the driver, when
// neither the program nor a graph, an executable graph or a launch in flight refers to it any more.
#pragma once
#include <memory>
#include <mutex>

#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

struct UserObject {
  void* object = nullptr;
  CUhostFn destroy = nullptr;
  std::mutex mutex;            // guards what follows
  unsigned of_program = 0;     // references that the program holds
  unsigned long long all = 0;  // its and those of graphs
};

// References that one graph holds. Copies of a graph hold as many again.
class UserReference {
 public:
  UserReference(std::shared_ptr<UserObject> object, unsigned count);
  UserReference(const UserReference& other);
  UserReference(UserReference&& other) noexcept;
  UserReference& operator=(UserReference other) noexcept;
  ~UserReference();

  const std::shared_ptr<UserObject>& object() const { return object_; }
  unsigned count() const { return count_; }
  void add(unsigned count);
  void drop(unsigned count);  // at most count()

 private:
  std::shared_ptr<UserObject> object_;
  unsigned count_;
};

// Takes references from an object; with the last one it is destroyed.
void release(const std::shared_ptr<UserObject>& object, unsigned count);

}  // namespace lull::sim
