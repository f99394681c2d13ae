#include "tests/driver/graph/exec.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <unordered_map>

#include "tests/driver/card/clock.h"
#include "tests/driver/code/kernel_operation.h"
#include "tests/driver/context/context.h"
#include "tests/driver/graph/memory_nodes.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/registry.h"
#include "tests/driver/stream/thread.h"

namespace lull::sim {
namespace {

constexpr unsigned most_helpers = 8;  // of one launch

struct Step {
  OperationPtr work;
  std::shared_ptr<Context> context;  // null: the stream's
  std::vector<std::size_t> next;     // steps that depend on it
  std::size_t missing = 0;           // steps it depends on
  int priority = 0;                  // of a kernel, where nodes' own priorities count
};

// The nodes of a graph and of the graphs in it, as one list.
class Flattened {
 public:
  // Adds a graph's nodes behind the steps `before`; returns its last ones.
  std::vector<std::size_t> add(const Graph& graph, const std::vector<std::size_t>& before) {
    std::unordered_map<const Node*, std::size_t> place;
    std::vector<std::size_t> ends;
    for (const Node* node : in_order(graph)) {
      std::vector<std::size_t> behind;
      for (const Edge& edge : node->dependencies) behind.push_back(place.at(edge.from));
      if (behind.empty()) behind = before;
      if (const Graph* child = child_of(*node)) behind = add(*child, behind);
      place[node] = append(*node, behind);
    }
    for (const auto& [node, at] : place) {
      if (steps[at].next.empty()) ends.push_back(at);
    }
    return ends.empty() ? before : ends;
  }

  std::vector<Step> steps;

 private:
  std::size_t append(const Node& node, const std::vector<std::size_t>& behind) {
    const std::size_t at = steps.size();
    Step step;
    step.work = node.enabled ? node.operation : std::make_shared<EmptyOperation>();
    step.context = node.context.lock();
    step.missing = behind.size();
    if (const auto* kernel = dynamic_cast<const KernelOperation*>(node.operation.get())) {
      const auto priority = kernel->attributes().find(CU_LAUNCH_ATTRIBUTE_PRIORITY);
      if (priority != kernel->attributes().end()) step.priority = priority->second.priority;
    }
    steps.push_back(std::move(step));
    for (const std::size_t before : behind) steps[before].next.push_back(at);
    return at;
  }
};

// One launch while it runs. The stream's own thread serves until all is done; helpers come where more than one step
// can run, and leave when none waits.
class GraphRun : public std::enable_shared_from_this<GraphRun> {
 public:
  GraphRun(const std::vector<Step>& steps, bool own_priorities, const Running& outer)
      : steps_(steps),
        own_priorities_(own_priorities),
        outer_(outer),
        ready_ns_(steps.size(), outer.ready_ns),
        missing_(steps.size()),
        left_(steps.size()) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      missing_[i] = steps[i].missing;
      if (missing_[i] == 0) ready_.push_back(i);
    }
  }

  std::uint64_t serve_to_the_end() {
    std::unique_lock lock(mutex_);
    call_helpers();
    while (left_ > 0) {
      if (ready_.empty())
        changed_.wait(lock);
      else
        run_one(lock);
    }
    return end_ns_;
  }

 private:
  void help() {
    std::unique_lock lock(mutex_);
    while (!ready_.empty()) run_one(lock);
    --helpers_;
  }

  // Locked.
  void call_helpers() {
    for (; ready_.size() > 1 + helpers_ - busy_ && helpers_ < most_helpers; ++helpers_) {
      run_elsewhere([self = shared_from_this()] { self->help(); });
    }
  }

  void run_one(std::unique_lock<std::mutex>& lock) {
    const std::size_t at = ready_.front();
    ready_.pop_front();
    const std::uint64_t ready_ns = ready_ns_[at];
    ++busy_;
    lock.unlock();
    const std::uint64_t end_ns = std::max(perform(steps_[at], ready_ns), ready_ns);
    lock.lock();
    --busy_;
    for (const std::size_t next : steps_[at].next) {
      ready_ns_[next] = std::max(ready_ns_[next], end_ns);
      if (--missing_[next] == 0) ready_.push_back(next);
    }
    end_ns_ = std::max(end_ns_, end_ns);
    call_helpers();
    if (--left_ == 0 || !ready_.empty()) changed_.notify_all();
  }

  std::uint64_t perform(const Step& step, std::uint64_t ready_ns) const {
    const auto own_life = step.context ? step.context->life() : nullptr;
    Life& life = own_life ? *own_life : outer_.life;
    Running running{step.context ? step.context->device() : outer_.device, life, outer_.stream_number, ready_ns, 0,
                    own_priorities_ ? step.priority : outer_.priority};
    const bool skipped =
        step.work->after() == After::error_is_skipped && (life.stop || outer_.life.stop || life.sticky());
    if (!skipped) {
      if (const CUresult failed = step.work->run(running)) life.fail(failed);
    }
    return running.end_ns ? running.end_ns : now_ns();
  }

  const std::vector<Step>& steps_;  // of the launch, which outlives every step
  const bool own_priorities_;
  const Running outer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::uint64_t> ready_ns_;
  std::vector<std::size_t> missing_;
  std::deque<std::size_t> ready_;
  std::size_t left_;
  std::size_t helpers_ = 0, busy_ = 0;  // threads beside the stream's; threads that run a step
  std::uint64_t end_ns_ = 0;
};

class GraphLaunch : public Operation {
 public:
  GraphLaunch(std::vector<Step> steps, bool own_priorities, std::vector<UserReference> objects)
      : steps_(std::move(steps)), own_priorities_(own_priorities), objects_(std::move(objects)) {}
  CUgraphNodeType type() const override { return CU_GRAPH_NODE_TYPE_GRAPH; }
  After after() const override { return After::error_too; }  // the events in it are still to be reached
  CUresult run(Running& running) const override {
    running.end_ns = std::make_shared<GraphRun>(steps_, own_priorities_, running)->serve_to_the_end();
    running.end_ns = std::max(running.end_ns, running.ready_ns);
    return CUDA_SUCCESS;
  }

 private:
  std::vector<Step> steps_;
  bool own_priorities_;
  std::vector<UserReference> objects_;  // alive until the launch is over
};

}  // namespace

std::unique_ptr<NativeCharge> NativeCharge::take(Device& device, std::size_t bytes) {
  if (!charge_native(device, bytes)) return nullptr;
  return std::unique_ptr<NativeCharge>(new NativeCharge(device, bytes));
}
NativeCharge::~NativeCharge() { device_.card->refund(bytes_); }

CUresult make_launch(const std::shared_ptr<GraphExec>& exec, OperationPtr& out) {
  Flattened flat;
  std::vector<UserReference> objects;
  {
    const std::scoped_lock lock(graph_mutex());
    flat.add(*exec->graph, {});
    objects = exec->graph->objects;
  }
  std::vector<OperationPtr> operations;
  for (const Step& step : flat.steps) operations.push_back(step.work);
  const bool auto_free = exec->flags & CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
  if (const CUresult refused = begin_launch(operations, auto_free)) return refused;
  for (Step& step : flat.steps) {
    if (OperationPtr instead = step.work->for_launch()) step.work = std::move(instead);
  }
  const bool own_priorities = exec->flags & CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
  out = std::make_shared<GraphLaunch>(std::move(flat.steps), own_priorities, std::move(objects));
  return CUDA_SUCCESS;
}

CUresult launch_graph(const std::shared_ptr<GraphExec>& exec, Stream& stream) {
  if (capture_of(stream)) {
    std::shared_ptr<Graph> copy;
    {
      const std::scoped_lock lock(graph_mutex());
      if (has_memory_nodes(*exec->graph)) return CUDA_ERROR_NOT_SUPPORTED;
      copy = clone(*exec->graph);
      copy->owner = Graph::Owner::node;
    }
    return submit(stream, std::make_shared<ChildOperation>(std::move(copy)));
  }
  const std::scoped_lock lock(exec->order);
  std::vector<Ticket> behind;
  if (exec->last.stream) behind.push_back(exec->last);
  if (const CUresult sticky = stream.life().sticky()) return sticky;
  OperationPtr launch;
  const CUresult refused = make_launch(exec, launch);
  return refused ? refused : submit(stream, std::move(launch), std::move(behind), &exec->last);
}

void drop_graphs_of(Context& context) {
  for (const auto& exec : registry<GraphExec>().all()) {
    const std::scoped_lock lock(exec->order);
    if (exec->context.lock().get() == &context) exec->charge.reset();
  }
}

}  // namespace lull::sim
