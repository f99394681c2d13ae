// A piece of work: what a stream does in its turn and what a graph keeps as a node. It is never changed once it is
// made, so that a launch in flight keeps what it was given: changing a node's parameters makes another operation.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

class Context;
struct Device;

// One activation of a context. A sticky error fails every later call and skips all queued work.
struct Life {
  std::atomic<bool> stop{false};
  std::atomic<int> error{0};
  CUresult sticky() const { return static_cast<CUresult>(error.load(std::memory_order_acquire)); }
  void fail(CUresult with) {
    int none = 0;
    error.compare_exchange_strong(none, with);
  }
};

// What a piece of work knows while it runs, and when, in modelled time, it was over.
struct Running {
  Device& device;
  Life& life;
  std::uint32_t stream_number;
  std::uint64_t ready_ns;
  std::uint64_t end_ns = 0;  // 0: now
  int priority = 0;          // of compute work: the lower, the sooner
};

using Work = std::function<CUresult(Running&)>;

enum class After { error_is_skipped, error_too };  // host callbacks and event records happen in any case

class Operation {
 public:
  virtual ~Operation() = default;
  virtual CUgraphNodeType type() const = 0;
  virtual CUresult run(Running&) const = 0;
  virtual After after() const { return After::error_is_skipped; }
  // What stands in for it in one launch of a graph; null: itself.
  virtual std::shared_ptr<const Operation> for_launch() const { return nullptr; }

 protected:
  Operation() = default;
  Operation(const Operation&) = default;
  Operation& operator=(const Operation&) = delete;
};
using OperationPtr = std::shared_ptr<const Operation>;

// Work without parameters that anybody could ask a node for.
class PlainWork : public Operation {
 public:
  PlainWork(CUgraphNodeType type, Work work, After after) : type_(type), work_(std::move(work)), after_(after) {}
  CUgraphNodeType type() const override { return type_; }
  CUresult run(Running& running) const override { return work_(running); }
  After after() const override { return after_; }

 private:
  CUgraphNodeType type_;
  Work work_;
  After after_;
};

class HostOperation : public Operation {
 public:
  explicit HostOperation(const CUDA_HOST_NODE_PARAMS& parameters) : parameters_(parameters) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_HOST; }
  CUresult run(Running&) const override;
  const CUDA_HOST_NODE_PARAMS& parameters() const { return parameters_; }

 private:
  CUDA_HOST_NODE_PARAMS parameters_;
};

class EmptyOperation : public Operation {
 public:
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_EMPTY; }
  CUresult run(Running& running) const override {
    running.end_ns = running.ready_ns;
    return CUDA_SUCCESS;
  }
};

}  // namespace lull::sim
