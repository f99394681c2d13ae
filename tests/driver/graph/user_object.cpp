#include "tests/driver/graph/user_object.h"

#include <algorithm>
#include <climits>
#include <utility>

#include "tests/driver/graph/graph.h"
#include "tests/driver/registry.h"
#include "tests/driver/stream/thread.h"
#include "tests/driver/surface/api.h"
#include "tests/driver/surface/entry.h"

namespace lull::sim {
namespace {

void retain(UserObject& object, unsigned count) {
  const std::scoped_lock lock(object.mutex);
  object.all += count;
}

bool is_count(unsigned count) { return count != 0 && count <= INT_MAX; }

}  // namespace

void release(const std::shared_ptr<UserObject>& object, unsigned count) {
  {
    const std::scoped_lock lock(object->mutex);
    object->all -= count;
    if (object->all != 0) return;
  }
  registry<UserObject>().remove(object.get());
  run_elsewhere([object] {
    enter_callback(true);
    object->destroy(object->object);
    enter_callback(false);
  });
}

UserReference::UserReference(std::shared_ptr<UserObject> object, unsigned count)
    : object_(std::move(object)), count_(count) {
  retain(*object_, count_);
}
UserReference::UserReference(const UserReference& other) : UserReference(other.object_, other.count_) {}
UserReference::UserReference(UserReference&& other) noexcept
    : object_(std::move(other.object_)), count_(std::exchange(other.count_, 0)) {}
UserReference& UserReference::operator=(UserReference other) noexcept {
  std::swap(object_, other.object_);
  std::swap(count_, other.count_);
  return *this;
}
UserReference::~UserReference() {
  if (object_ && count_) release(object_, count_);
}

void UserReference::add(unsigned count) {
  retain(*object_, count);
  count_ += count;
}
void UserReference::drop(unsigned count) {
  count_ -= count;
  release(object_, count);
}

namespace api {

CUresult cuUserObjectCreate(CUuserObject* object_out, void* ptr, CUhostFn destroy, unsigned initialRefcount,
                            unsigned flags) {
  if (!object_out || !destroy || !is_count(initialRefcount) || flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC)
    return CUDA_ERROR_INVALID_VALUE;
  auto made = std::make_shared<UserObject>();
  made->object = ptr;
  made->destroy = destroy;
  made->of_program = initialRefcount;
  made->all = initialRefcount;
  *object_out = reinterpret_cast<CUuserObject>(registry<UserObject>().add(std::move(made)));
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRetain(CUuserObject handle, unsigned count) {
  const auto object = registry<UserObject>().find(handle);
  if (!object || !is_count(count)) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(object->mutex);
  object->of_program += count;
  object->all += count;
  return CUDA_SUCCESS;
}

CUresult cuUserObjectRelease(CUuserObject handle, unsigned count) {
  const auto object = registry<UserObject>().find(handle);
  if (!object || !is_count(count)) return CUDA_ERROR_INVALID_VALUE;
  {
    const std::scoped_lock lock(object->mutex);
    if (count > object->of_program) return CUDA_ERROR_INVALID_VALUE;
    object->of_program -= count;
  }
  release(object, count);
  return CUDA_SUCCESS;
}

CUresult cuGraphRetainUserObject(CUgraph hGraph, CUuserObject handle, unsigned count, unsigned flags) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  const auto object = registry<UserObject>().find(handle);
  if (!graph || !object || !is_count(count) || (flags & ~unsigned{CU_GRAPH_USER_OBJECT_MOVE}))
    return CUDA_ERROR_INVALID_VALUE;
  const bool move = flags & CU_GRAPH_USER_OBJECT_MOVE;
  if (move) {
    const std::scoped_lock counts(object->mutex);
    if (count > object->of_program) return CUDA_ERROR_INVALID_VALUE;
    object->of_program -= count;
  }
  const auto held = std::ranges::find(graph->objects, object, &UserReference::object);
  if (held != graph->objects.end())
    held->add(count);
  else
    graph->objects.emplace_back(object, count);
  if (move) release(object, count);  // the program's, now the graph's
  return CUDA_SUCCESS;
}

CUresult cuGraphReleaseUserObject(CUgraph hGraph, CUuserObject handle, unsigned count) {
  const std::scoped_lock lock(graph_mutex());
  const auto graph = find_graph(hGraph);
  const auto object = registry<UserObject>().find(handle);
  if (!graph || !object || !is_count(count)) return CUDA_ERROR_INVALID_VALUE;
  const auto held = std::ranges::find(graph->objects, object, &UserReference::object);
  if (held == graph->objects.end() || count > held->count()) return CUDA_ERROR_INVALID_VALUE;
  held->drop(count);
  if (held->count() == 0) graph->objects.erase(held);
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim
